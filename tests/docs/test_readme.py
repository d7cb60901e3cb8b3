"""README's transcripts, typed into a shell, against the example project's own server."""

import re
from collections.abc import Iterator
from dataclasses import replace

import pytest

from tests.docs.markdown import PAGES, README, ROOT, blocks, headings
from tests.docs.shell import Command, Shell, shell

SECTIONS = ("What a client sees", "Which requests need keys")
# Two curls at once: which one is first, and whether they overlap, is chance.
CHANCE = "charge coffee-3 4.20 & charge coffee-3 4.20 & wait"
MEMBERS = re.compile(r'"(id|account)":\d+|"(created)":"[^"]*"')

PREPARE = """
from decimal import Decimal
from django.contrib.auth.models import User
from rest_framework.authtoken.models import Token
from example_project.payments.models import Account
user = User.objects.create_user('customer')
account = Account.objects.create(owner=user, name='Savings', opening=Decimal(100), balance=Decimal(100))
print(f'TOKEN={Token.objects.create(user=user).key} ACCOUNT={account.pk}')
"""


@pytest.fixture
def example(tmp_path) -> Iterator[Shell]:
    """Yield a shell in the repository, the example project being served."""
    variables = {"DATABASE_URL": f"sqlite:///{tmp_path / 'example.sqlite3'}", "PREPARE": PREPARE}
    with shell(ROOT, variables, log=tmp_path / "server.log") as typist:
        for text in (
            "python manage.py migrate",
            'export $(python manage.py shell --verbosity 0 -c "$PREPARE")',
            "python manage.py runserver",
        ):
            typist.run(Command(text=text, output=""), "preparing")
        yield typist


class TestTranscript:
    @pytest.mark.engine("sqlite")  # The example's own database, whatever the engine under test.
    def test_prints_what_is_shown(self, example):
        for block in blocks(README, "console"):
            if block.section in SECTIONS and CHANCE not in block.text:
                shown = MEMBERS.sub(r'"\1\2":...', block.text)
                example.type(replace(block, text=shown))


class TestLinks:
    def test_every_page_is_linked(self):
        linked = set(re.findall(r"\]\(docs/([\w-]+\.md)", README.read_text()))

        assert linked == {page.name for page in PAGES} - {"index.md", "changelog.md", "contributing.md"}

    def test_says_what_is_not_promised(self):
        assert "What is not promised" in [heading.text for heading in headings(README)]
