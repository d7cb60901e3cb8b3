"""Requests made up from the example project's own specification, right ones and wrong ones, against its server."""

import json
import os
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import pytest
import requests
import schemathesis
from hypothesis import Phase, event, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode, Response

from example_project.demo.server import Server
from tests.faults.strategies import bounded
from tests.server import ROOT

# It is one server for all engines; what they do differently is tested elsewhere.
pytestmark = pytest.mark.engine("sqlite")

# The type of what a schema of this kind makes.
Case = schemathesis.Case[Any]

PREPARE = """
import json, django
django.setup()
from django.core.management import call_command
from example_project.demo.people import make_customers, open_accounts
call_command("migrate", verbosity=0)
customer, account = make_customers()[0], open_accounts("tests")[0]
print(json.dumps([customer.token, account.pk]))
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """A server, a customer's means, and a connection that tells whether anything was committed."""

    url: str
    session: requests.Session
    account: int
    watch: sqlite3.Connection

    def send(self, case: Case) -> tuple[Response, bool]:
        """Return the answer, and whether anything was committed."""
        before = self.version()
        response = case.call(base_url=self.url, session=self.session)
        return response, self.version() != before

    def version(self) -> int:
        """Return a number that changes when anybody else commits a change."""
        return int(self.watch.execute("PRAGMA data_version").fetchone()[0])


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Example]:
    directory = tmp_path_factory.mktemp("example")
    path = directory / "db.sqlite3"
    with pytest.MonkeyPatch.context() as patch, requests.Session() as session:
        patch.setenv("DATABASE_URL", f"sqlite:///{path}")
        patch.setenv("DJANGO_SETTINGS_MODULE", "example_project.settings")
        patch.setattr("example_project.demo.server.settings", type("Settings", (), {"BASE_DIR": ROOT}))
        prepared = subprocess.run(
            [sys.executable, "-c", PREPARE], cwd=ROOT, check=True, capture_output=True, text=True, env=os.environ
        )
        token, account = json.loads(prepared.stdout)
        with socket.create_server(("127.0.0.1", 0)) as probe:
            port = probe.getsockname()[1]
        session.headers["Authorization"] = f"Token {token}"
        session.trust_env = False
        with Server(port=port, workers=1, directory=directory) as server, closing(sqlite3.connect(path)) as watch:
            yield Example(url=server.url, session=session, account=account, watch=watch)


@pytest.fixture(scope="module")
def schema(example: Example) -> Any:
    document = example.session.get(f"{example.url}/schema/", headers={"Accept": "application/json"}).json()
    return schemathesis.openapi.from_dict(document)


def search(
    example: Example,
    cases: st.SearchStrategy[Case],
    *,
    valid: bool,
    phases: Sequence[Phase] = tuple(Phase),
) -> None:
    """Send each of the *cases* twice: no 500, and one effect if it was accepted or declined, else none."""
    affordable: dict[str, Any] = {"account": example.account, "amount": "0.01", "unit_price": "0.01", "quantity": 1}

    @settings(bounded(60), phases=phases)
    @given(case=cases, is_affordable=st.booleans())
    def send_twice(case: Case, is_affordable: bool) -> None:
        if isinstance(case.body, dict) and is_affordable:
            case.body.update({name: value for name, value in affordable.items() if name in case.body})
        if case.method == "POST" and valid:
            case.headers["Idempotency-Key"] = str(uuid4())

        first, committed = example.send(case)
        retry, committed_again = example.send(case)

        event(f"{case.method} {case.path} {first.status_code}")
        # A key that is made up may come again, with what comes down to the same body.
        is_replay = "idempotent-replayed" in first.headers
        assert first.status_code < 500
        assert committed == (case.method == "POST" and first.status_code in {201, 402} and not is_replay)
        assert not committed_again
        assert (retry.status_code, retry.content) == (first.status_code, first.content)

    send_twice()


class TestSpecification:
    @pytest.mark.parametrize("mode", list(GenerationMode), ids=str)
    def test_what_is_made_from_it_never_fails_and_takes_effect_once(self, example, schema, mode):
        # The shop needs a bank (tests/checkout), and an operation of several steps commits its claim before it runs.
        guarded = schema.exclude(path_regex="^/(demo|shop)/")
        cases = guarded.include(method="POST").as_strategy(mode) | guarded.as_strategy(mode)

        search(example, cases, valid=mode is GenerationMode.POSITIVE)

    def test_views_without_keys_are_found_out(self, example, schema):
        unguarded = schema.include(path_regex="^/demo/", method="POST")

        with pytest.raises(AssertionError):
            search(example, unguarded.as_strategy(), valid=True, phases=[Phase.generate])
