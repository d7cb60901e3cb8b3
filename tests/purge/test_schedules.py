"""README's ways to have the purge run by itself."""

import re
import shlex
import sys
from collections.abc import Callable
from io import StringIO
from types import ModuleType
from typing import Any

import django
import pytest
from django.core.management import call_command

from tests.docs.markdown import README, Block, blocks
from tests.purge.keys import keys, names

SECTION = "Purging expired keys"
COMMAND = re.compile(r"manage\.py (purge_idempotency_keys.*)")


def section(*languages: str) -> list[Block]:
    return [block for block in blocks(README, *languages) if block.section == SECTION]


def commands() -> list[str]:
    return [match[1] for block in section("console", "text") for match in COMMAND.finditer(block.text)]


@pytest.fixture
def python(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], dict[str, Any]]:
    """Return what runs the block that imports the module it is given, and returns its names."""

    def run(name: str) -> dict[str, Any]:
        (block,) = [block for block in section("python") if name in block.text]
        module = ModuleType(f"readme_{name.replace('.', '_')}")
        monkeypatch.setitem(sys.modules, module.__name__, module)
        exec(compile(block.source, block.path, "exec"), vars(module))
        return vars(module)

    return run


@pytest.mark.django_db
class TestReadme:
    def test_names_three_commands(self):
        assert len(commands()) == 3

    @pytest.mark.parametrize("command", commands())
    def test_command_purges(self, command):
        keys(1)

        call_command(*shlex.split(command), stdout=StringIO())

        assert names() == []

    def test_celery_task_purges(self, python):
        keys(1)

        readme = python("celery")
        readme["purge_keys"]()

        assert names() == []
        assert list(readme["CELERY_BEAT_SCHEDULE"]) == ["purge-keys"]


if django.VERSION >= (6,):

    @pytest.mark.django_db
    class TestDjangoTask:
        def test_purges_and_enqueues_the_next(self, python, settings):
            settings.TASKS = {"default": {"BACKEND": "django.tasks.backends.dummy.DummyBackend"}}
            keys(1)

            task = python("django.tasks")["purge_keys"]
            task.call()

            assert names() == []
            (result,) = task.get_backend().results
            assert result.task.run_after is not None
