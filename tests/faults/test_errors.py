"""What the database gives up by itself, provoked for real: nothing is left behind, and the retry runs.

Each test sends payments by way of a real server, whose sessions have short timeouts or strict isolation.
"""

import random
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest
from django.db import connection

from tests.faults.clients import Client
from tests.faults.model import Order
from tests.faults.servers import serving
from tests.faults.test_storm import REPEATABLE_READ, SERIALIZABLE
from tests.gate import Gate

BOTH_ENGINES = pytest.mark.engine("postgresql", "mariadb")
PATHS = pytest.mark.parametrize("path", ["/plain/", "/async/", "/drf/"])
ONE_TO_TWO = Order(user="ann", key="one", payer=1, payee=2, amount=30)
TWO_TO_ONE = Order(user="ann", key="two", payer=2, payee=1, amount=20)
BOTH = (ONE_TO_TWO, TWO_TO_ONE)
SETTINGS: dict[str, dict[str, Any]] = {
    "locks": {
        "postgresql": {"options": "-c lock_timeout=200ms"},
        "mysql": {"init_command": "SET SESSION innodb_lock_wait_timeout = 1, lock_wait_timeout = 1"},
    },
    "statements": {
        "postgresql": {"options": "-c statement_timeout=2s"},
        "mysql": {"init_command": "SET SESSION max_statement_time = 2"},
    },
    "snapshots": {
        "postgresql": {"isolation_level": REPEATABLE_READ},
        "mysql": {
            "isolation_level": "repeatable read",
            "init_command": "SET SESSION innodb_snapshot_isolation = ON",
        },
    },
    "serializable": {
        "postgresql": {"isolation_level": SERIALIZABLE},
        "mysql": {"isolation_level": "serializable"},
    },
}


@pytest.fixture(scope="module", params=SETTINGS)
def gunicorn(request, engine):
    """Run gunicorn with one of the SETTINGS."""
    with serving({"OPTIONS": SETTINGS[request.param][connection.vendor]}) as server:
        yield server


@pytest.fixture
def send(gunicorn, bank):
    """Open two accounts, and return what sends an order."""
    bank.open(2, 100)
    client = Client(address=(gunicorn.host, gunicorn.port), dice=random.Random())
    return client.send


def at(*names):
    """Run a test at these SETTINGS."""
    return pytest.mark.parametrize("gunicorn", names, indirect=True)


@contextmanager
def held(send, order, path, place, **options):
    """Let a request stand at *place*; yield it, to be released by `open()`, with its answer to come."""
    with Gate() as gate, ThreadPoolExecutor(1) as executor:
        try:
            answer = executor.submit(send, order, path, gate=f"{place} {gate.path}", **options)
            gate.wait()
            yield gate, answer
        finally:
            gate.open()


def assert_nothing_is_left(bank):
    books = bank.books()
    assert (books.runs, books.keys) == ([], [])
    assert books.balances == {1: 100, 2: 100}


def assert_retry_runs(send, bank, path):
    retry = send(ONE_TO_TWO, path)
    assert (retry.status, retry.replayed) == (201, False)
    assert bank.books().balances == {1: 70, 2: 130}


@contextmanager
def locked_table(bank):
    """Let somebody alter the keys' table: no claim gets a lock on it."""
    with bank.connection() as other, other.cursor() as cursor:
        if other.vendor == "postgresql":
            other.set_autocommit(False)
            cursor.execute("LOCK TABLE django_idempotency_idempotencykey IN ACCESS EXCLUSIVE MODE")
        else:
            cursor.execute("LOCK TABLES django_idempotency_idempotencykey WRITE")
        yield


@BOTH_ENGINES
@at("locks")
class TestLockTimeout:
    @PATHS
    def test_of_the_handler_is_an_error_of_the_handler(self, send, bank, path):
        """A lock that is not ours to explain: to answer "in progress" would hide it."""
        with bank.connection() as other:
            other.set_autocommit(False)
            other.cursor().execute("SELECT balance FROM app_account WHERE id = 1 FOR UPDATE")
            first = send(ONE_TO_TWO, path)

        assert first.status == 500
        assert_nothing_is_left(bank)
        assert_retry_runs(send, bank, path)

    @PATHS
    def test_of_the_claim_tells_the_client_to_come_again(self, send, bank, path):
        with locked_table(bank):
            first = send(ONE_TO_TWO, path)

        assert (first.status, first.retry_after) == (409, True)
        assert_nothing_is_left(bank)
        assert_retry_runs(send, bank, path)


@BOTH_ENGINES
class TestStatementTimeout:
    @at("locks")
    @PATHS
    @pytest.mark.parametrize("place", ["before", "after"])
    def test_of_the_handler_leaves_nothing_behind(self, send, bank, path, place):
        first = send(ONE_TO_TWO, path, fault=f"{place} dawdle")

        assert first.status == 500
        assert_nothing_is_left(bank)
        assert_retry_runs(send, bank, path)

    @at("statements")
    @PATHS
    def test_of_the_claim_leaves_nothing_behind(self, send, bank, path):
        with locked_table(bank):
            first = send(ONE_TO_TWO, path)

        assert first.status == 500
        assert_nothing_is_left(bank)
        assert_retry_runs(send, bank, path)


@BOTH_ENGINES
@at("locks", "snapshots", "serializable")
class TestDeadlock:
    """Two payments in opposite directions; each has locked its payer when both are let go."""

    @PATHS
    def test_victim_leaves_nothing_behind_and_its_retry_runs(self, send, bank, path):
        attempts = self.collide(send, path)

        assert sorted(attempt.status for attempt in attempts) == [201, 500]
        [victim] = [order for order, attempt in zip(BOTH, attempts, strict=True) if attempt.status == 500]
        assert victim.name not in bank.books().keys
        retry = send(victim, path)
        assert (retry.status, retry.replayed) == (201, False)
        assert bank.books().balances == {1: 90, 2: 110}

    def test_victim_runs_again_where_the_view_asks_for_it(self, send, bank):
        attempts = self.collide(send, "/rerun/")

        assert [(attempt.status, attempt.replayed) for attempt in attempts] == [(201, False)] * 2
        assert len(bank.books().runs) == 2
        assert bank.books().balances == {1: 90, 2: 110}

    def test_victim_that_goes_on_as_if_nothing_was_is_not_remembered(self, send, bank):
        """InnoDB has taken the whole transaction back, the claim with it, and would begin another by itself."""
        self.collide(send, "/careless/")
        [survivor] = bank.books().runs
        [victim] = [order for order in BOTH if order.name != survivor.order]

        retry = send(victim, "/careless/")

        assert (retry.status, retry.replayed) == (201, False)
        assert bank.books().balances == {1: 90, 2: 110}

    def collide(self, send, path):
        with (
            held(send, ONE_TO_TWO, path, "locked") as (one, first),
            held(send, TWO_TO_ONE, path, "locked") as (two, second),
        ):
            one.open()
            two.open()
            return first.result(), second.result()


@BOTH_ENGINES
@at("snapshots")
class TestChangedSinceTheSnapshot:
    """The payer's balance changes after the request's transaction has begun, and before it locks."""

    @PATHS
    def test_leaves_nothing_behind_and_retry_runs(self, send, bank, path):
        first = self.be_overtaken(send, bank, path)

        assert first.status == 500
        assert (bank.books().runs, bank.books().keys) == ([], [])
        retry = send(ONE_TO_TWO, path)
        assert (retry.status, retry.replayed) == (201, False)
        assert bank.books().balances == {1: 71, 2: 130}

    def test_runs_again_where_the_view_asks_for_it(self, send, bank):
        first = self.be_overtaken(send, bank, "/rerun/")

        assert first.status == 201
        assert len(bank.books().runs) == 1
        assert bank.books().balances == {1: 71, 2: 130}

    def be_overtaken(self, send, bank, path):
        with held(send, ONE_TO_TWO, path, "start", fault="before read effects") as (gate, answer):
            with bank.cursor() as cursor:
                cursor.execute("UPDATE app_account SET balance = balance + 1 WHERE id = 1")
            gate.open()
            return answer.result()


@pytest.mark.engine("postgresql")
@at("serializable")
class TestSerializationFailure:
    """Each of two transactions reads what the other one writes: in no order could they have run one by one."""

    @PATHS
    def test_at_the_end_leaves_nothing_behind_and_retry_runs(self, send, bank, path):
        first = self.cross(send, bank, path)

        assert first.status == 500
        assert [run.order for run in bank.books().runs] == ["somebody"]
        assert bank.books().keys == []
        assert_retry_runs(send, bank, path)

    def test_runs_again_where_the_view_asks_for_it(self, send, bank):
        first = self.cross(send, bank, "/rerun/")

        assert first.status == 201
        assert bank.books().balances == {1: 70, 2: 130}

    def cross(self, send, bank, path):
        with bank.connection() as other, other.cursor() as cursor:
            other.set_autocommit(False)
            cursor.execute("SET TRANSACTION ISOLATION LEVEL SERIALIZABLE")
            cursor.execute("SELECT balance FROM app_account")
            with held(send, ONE_TO_TWO, path, "end", fault="before read effects") as (gate, answer):
                cursor.execute("INSERT INTO app_effect (label, created) VALUES ('somebody paid nothing', now())")
                other.commit()
                gate.open()
                return answer.result()
