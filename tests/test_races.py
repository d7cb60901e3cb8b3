"""Many callers at once, on every claim and at every isolation level: one effect a key, and no error."""

import random
from collections import Counter, defaultdict
from functools import partial
from threading import Barrier
from typing import Any

import pytest
from django.db import OperationalError, connection
from django.db.transaction import atomic

from django_idempotency import claims
from django_idempotency.exceptions import RequestInProgress
from django_idempotency.execution import execute
from django_idempotency.models import IdempotencyKey
from tests.app.views import effect
from tests.gate import TIMEOUT, pass_gate
from tests.operations import CODEC, connecting_with, expire_keys, labels, operation
from tests.test_claims import CLAIMS
from tests.threads import together

THREADS = 8
KEYS = [f"key {number}" for number in range(6)]

SNAPSHOTS = {"init_command": "SET SESSION innodb_snapshot_isolation = ON"}
READ_COMMITTED, REPEATABLE_READ, SERIALIZABLE = 2, 3, 4
VARIANTS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "PostgreSQL, read committed": ("postgresql", "postgresql", {"isolation_level": READ_COMMITTED}),
    "PostgreSQL, repeatable read": ("postgresql", "postgresql", {"isolation_level": REPEATABLE_READ}),
    "PostgreSQL, serializable": ("postgresql", "postgresql", {"isolation_level": SERIALIZABLE}),
    "PostgreSQL, bound by the server": ("postgresql", "postgresql", {"server_side_binding": True}),
    "any on PostgreSQL": ("postgresql", "any", {}),
    "MariaDB, read committed": ("mariadb", "mariadb", {"isolation_level": "read committed"}),
    "MariaDB, repeatable read": ("mariadb", "mariadb", {"isolation_level": "repeatable read"}),
    "MariaDB, serializable": ("mariadb", "mariadb", {"isolation_level": "serializable"}),
    "MariaDB, snapshots": ("mariadb", "mariadb", {"isolation_level": "repeatable read", **SNAPSHOTS}),
    "MySQL's, read committed": ("mariadb", "mysql", {"isolation_level": "read committed"}),
    "MySQL's, repeatable read": ("mariadb", "mysql", {"isolation_level": "repeatable read"}),
    "MySQL's, serializable": ("mariadb", "mysql", {"isolation_level": "serializable"}),
    "MySQL's, snapshots": ("mariadb", "mysql", {"isolation_level": "repeatable read", **SNAPSHOTS}),
    "any on MariaDB": ("mariadb", "any", {"isolation_level": "repeatable read"}),
    "SQLite": ("sqlite", "sqlite", {}),
    "SQLite, write-ahead log": ("sqlite", "sqlite", {}),
    "any on SQLite": ("sqlite", "any", {}),
}
JOURNALS = {"SQLite, write-ahead log": "WAL"}


class RolledBackError(Exception):
    """What a handler raises after it has written."""


@pytest.fixture(
    params=[pytest.param(variant, marks=pytest.mark.engine(VARIANTS[variant][0])) for variant in VARIANTS],
)
def variant(request, engine, transactional_db, monkeypatch):
    """Let the engine under test use one claim, at one isolation level."""
    _, claimer, options = VARIANTS[request.param]
    monkeypatch.setitem(claims.CLAIMERS, engine, CLAIMS[claimer])
    journal = JOURNALS.get(request.param)
    with connecting_with(**options):
        if journal:
            # The file keeps it. Threads that all changed it at once would be refused, whatever their timeout.
            connection.cursor().execute(f"PRAGMA journal_mode = {journal}")
        yield request.param
        if journal:
            connection.cursor().execute("PRAGMA journal_mode = DELETE")


@pytest.fixture
def handlers():
    """Return a function that makes handlers: of all runs, 40 % fail after their write."""
    runs = defaultdict(list)

    def handler_of(key):
        def handler():
            runs[key].append(key)
            number = len(runs[key])
            effect(key)
            if random.Random(f"{key}, run {number}").random() < 0.4:
                raise RolledBackError
            return f"{key}, run {number}"

        return handler

    return handler_of


def race(call):
    """Call *call* with each key and the thread's number, in all threads at once; return the results by key."""
    barrier = Barrier(THREADS, timeout=TIMEOUT)

    def run(number):
        results = {}
        for key in KEYS:
            barrier.wait()
            results[key] = call(key, number)
        return results

    results = together([partial(run, number) for number in range(THREADS)])
    return {key: [result[key] for result in results] for key in KEYS}


def persist(call):
    """Call *call*, as a client retries, until it is neither refused nor rolled back."""
    while True:
        try:
            return call()
        except (RolledBackError, RequestInProgress):
            pass


def purge(key):
    """Delete the key if it is expired, but wait for nobody."""
    while True:
        try:
            with atomic():
                rows = IdempotencyKey.objects.filter(key=key).expired()
                if connection.features.has_select_for_update:
                    locked = list(rows.select_for_update(skip_locked=True).values_list("pk", flat=True))
                    rows = IdempotencyKey.objects.filter(pk__in=locked)
                return rows.delete()
        except OperationalError as error:
            if not claims.is_rolled_back(error):
                raise


def assert_exactly_once(outcomes):
    assert Counter(labels()) == Counter(KEYS)
    assert IdempotencyKey.objects.completed().count() == len(KEYS)
    for key, results in outcomes.items():
        assert Counter(outcome.replayed for outcome in results) == {False: 1, True: THREADS - 1}, key
        assert len({outcome.value for outcome in results}) == 1, key


class TestRaces:
    def test_one_effect_a_key_whatever_rolls_back(self, variant, handlers):
        def call(key, number):
            wait = TIMEOUT if number % 2 else 0
            return persist(lambda: execute(operation(key), handlers(key), codec=CODEC, wait=wait))

        assert_exactly_once(race(call))

    def test_inside_of_the_callers_transactions(self, variant, handlers):
        def call_in_a_transaction(key):
            try:
                with atomic():
                    return execute(operation(key), handlers(key), codec=CODEC)
            except OperationalError as error:
                # The caller's transaction is gone: only he can begin again.
                if claims.is_rolled_back(error):
                    raise RolledBackError from error
                raise

        def call(key, number):
            return persist(lambda: call_in_a_transaction(key))

        assert_exactly_once(race(call))

    def test_expired_keys_run_once_more(self, variant, handlers):
        for key in KEYS:
            execute(operation(key), lambda: "old", codec=CODEC)
        expire_keys()

        def call(key, number):
            return persist(lambda: execute(operation(key), handlers(key), codec=CODEC, wait=TIMEOUT))

        assert_exactly_once(race(call))

    def test_purge_of_expired_keys(self, variant, handlers):
        for key in KEYS:
            execute(operation(key), lambda: "old", codec=CODEC)
        expire_keys()
        # What a purge writes cannot be ordered with what a request reads: that is what `reruns` is for.
        reruns = 10 if variant == "PostgreSQL, serializable" else 0

        def call(key, number):
            if number < THREADS // 4:
                return purge(key)
            return persist(lambda: execute(operation(key), handlers(key), codec=CODEC, wait=TIMEOUT, reruns=reruns))

        race(call)

        assert Counter(labels()) == Counter(KEYS)
        assert IdempotencyKey.objects.completed().unexpired().count() == len(KEYS)


@pytest.mark.django_db(transaction=True)
@pytest.mark.engine("postgresql", "mariadb")
class TestExpiredKey:
    """Step by step, what the races leave to chance."""

    def test_two_retries_at_once_run_once(self, gate):
        execute(operation(), lambda: "old", codec=CODEC)
        expire_keys()

        def first():
            def handler():
                effect("first")
                pass_gate(gate.path)
                return "first"

            return execute(operation(), handler, codec=CODEC)

        def second():
            visitor = gate.wait()
            with pytest.raises(RequestInProgress):
                execute(operation(), lambda: "second", codec=CODEC)
            visitor.open()
            return execute(operation(), lambda: "second", codec=CODEC, wait=TIMEOUT)

        outcomes = together([first, second])

        assert [(outcome.value, outcome.replayed) for outcome in outcomes] == [("first", False), ("first", True)]
        assert labels() == ["first"]

    def test_purge_does_not_delete_a_key_that_is_being_renewed(self, gate):
        execute(operation(), lambda: "old", codec=CODEC)
        expire_keys()

        def retry():
            def handler():
                effect("new")
                pass_gate(gate.path)
                return "new"

            return execute(operation(), handler, codec=CODEC)

        def purge():
            visitor = gate.wait()
            with atomic():
                rows = list(IdempotencyKey.objects.expired().select_for_update(skip_locked=True))
            visitor.open()
            return rows

        _, rows = together([retry, purge])

        assert rows == []
        assert execute(operation(), lambda: "again", codec=CODEC).value == "new"

    def test_retry_while_the_purge_deletes_the_key_runs_afterwards(self, gate):
        execute(operation(), lambda: "old", codec=CODEC)
        expire_keys()

        def purge():
            with atomic():
                IdempotencyKey.objects.expired().select_for_update(skip_locked=True).get()
                IdempotencyKey.objects.all().delete()
                pass_gate(gate.path)

        def retry():
            gate.wait().open()
            return execute(operation(), lambda: "new", codec=CODEC, wait=TIMEOUT)

        _, outcome = together([purge, retry])

        assert outcome.value == "new"
        assert not outcome.replayed
