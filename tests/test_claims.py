"""The SQL, one function an engine, on the engine itself."""

import json
import math
from contextlib import contextmanager
from datetime import timedelta
from threading import Barrier
from typing import Any

import pytest
from django.db import DatabaseError, OperationalError, connection, connections, transaction
from django.db.transaction import atomic
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from django_idempotency import claims
from django_idempotency.models import IdempotencyKey
from django_idempotency.values import StoredResponse
from tests.app.faults import cut_session
from tests.app.models import Account, Effect
from tests.factories import AccountFactory
from tests.gate import TIMEOUT, pass_gate
from tests.operations import connecting_with, missing_table, operation
from tests.threads import together

pytestmark = pytest.mark.django_db

# Each engine's own claim, and those of other engines that it understands as well.
CLAIMERS = [
    pytest.param("postgresql", marks=pytest.mark.engine("postgresql")),
    pytest.param("mariadb", marks=pytest.mark.engine("mariadb")),
    pytest.param("mysql", marks=pytest.mark.engine("mariadb")),
    pytest.param("sqlite", marks=pytest.mark.engine("sqlite")),
    pytest.param("any", marks=pytest.mark.engine("postgresql", "mariadb", "sqlite")),
]
CLAIMS = {**claims.CLAIMERS, "any": claims.claim_on_any}


@pytest.fixture(params=CLAIMERS)
def claimer(request, engine, monkeypatch):
    """Let the engine under test use the claim of this name."""
    monkeypatch.setitem(claims.CLAIMERS, engine, CLAIMS[request.param])
    return request.param


def claim(number=1, **options):
    return claims.claim(connection, claims.row_of(connection, operation(str(number), **options), timezone.now()))


def look_up(op, *, now=None, forgotten=None):
    now = now or timezone.now()
    return claims.look_up(connection, op, now=now, forgotten=forgotten or now)


def complete(response, *, number=1, commit=False):
    now = timezone.now()
    row = claims.row_of(connection, operation(str(number)), now)
    return claims.complete(connection, row, response, now, commit=commit)


class TestClaimer:
    def test_each_engine_has_its_own(self, engine):
        assert claims.claimer(connection) is CLAIMS[engine]

    @pytest.mark.engine("mariadb")
    def test_mysql_is_not_mariadb(self, monkeypatch):
        monkeypatch.setattr(connections["default"], "mysql_is_mariadb", False)

        assert claims.claimer(connection) is claims.claim_on_mysql

    def test_unknown_engine_gets_the_one_for_any(self, monkeypatch):
        monkeypatch.setattr(type(connections["default"]), "vendor", "oracle")

        assert claims.claimer(connection) is claims.claim_on_any


class TestClaim:
    def test_first_wins(self, claimer):
        with atomic():
            assert claim()

        row = IdempotencyKey.objects.get()
        assert row.pk == operation("1").digest
        assert (row.namespace, row.scope, row.key) == ("test", "anonymous", "1")
        assert row.fingerprint == operation().fingerprint.sign()
        assert (row.status, row.body, row.completed) == (None, None, None)
        assert row.headers == []
        assert row.expires - row.created == timedelta(hours=1)

    def test_second_loses(self, claimer):
        with atomic():
            claim()

        with atomic():
            assert not claim()

        assert IdempotencyKey.objects.count() == 1

    def test_second_loses_in_the_same_transaction(self, claimer):
        with atomic():
            claim()

            assert not claim()
            assert Effect.objects.count() == 0

    def test_rolled_back_claim_is_free_again(self, claimer):
        with atomic():
            claim()
            transaction.set_rollback(True)

        with atomic():
            assert claim()

    def test_rolled_back_savepoint_is_free_again(self, claimer):
        with atomic():
            with atomic():
                claim()
                transaction.set_rollback(True)

            assert claim()

    @pytest.mark.parametrize(
        "other",
        [
            {"scope": "user:1"},
            {"scope": "Anonymous"},
            {"scope": "anonymous "},
            {"scope": "ànonymous"},
            {"namespace": "Test"},
            {"number": "A"},
            {"number": "a "},
            {"number": "á"},
        ],
    )
    def test_identities_that_differ_in_case_space_or_accent_are_different(self, claimer, other):
        with atomic():
            claim("a")

        with atomic():
            assert claim(**{"number": "a", **other})

    @pytest.mark.django_db(transaction=True)
    @pytest.mark.parametrize("claimer", CLAIMERS[:3], indirect=True)
    def test_duplicate_in_flight_loses_at_once(self, claimer, gate):
        def first():
            with atomic():
                won = claim()
                pass_gate(gate.path)
                return won

        def second():
            visitor = gate.wait()
            with atomic():
                won = claim()
            visitor.open()
            return won

        assert together([first, second]) == [True, False]

    @pytest.mark.engine("postgresql")
    def test_lock_has_the_second_half_of_the_digest_for_its_number(self):
        with atomic(), connection.cursor() as cursor:
            claim()
            cursor.execute(
                "SELECT classid::bigint << 32 | objid::bigint FROM pg_locks "
                "WHERE locktype = 'advisory' AND pid = pg_backend_pid()"
            )

            number = int.from_bytes(operation("1").digest.bytes[8:], "big", signed=True)
            assert cursor.fetchall() == [(number,)]

    @pytest.mark.parametrize("claimer", [CLAIMERS[1]], indirect=True)
    def test_only_the_claim_does_not_wait(self, claimer):
        with connection.cursor() as cursor:
            cursor.execute("SELECT @@innodb_lock_wait_timeout")
            before = cursor.fetchone()
            claim()
            cursor.execute("SELECT @@innodb_lock_wait_timeout")

            assert cursor.fetchone() == before != (0,)

    @pytest.mark.parametrize(
        ("claimer", "statements"),
        [
            pytest.param("postgresql", 1, marks=pytest.mark.engine("postgresql")),
            pytest.param("mariadb", 1, marks=pytest.mark.engine("mariadb")),
            pytest.param("mysql", 2, marks=pytest.mark.engine("mariadb")),
            pytest.param("sqlite", 1, marks=pytest.mark.engine("sqlite")),
            # A savepoint, its release.
            pytest.param("any", 3, marks=pytest.mark.engine("postgresql", "mariadb", "sqlite")),
        ],
        indirect=["claimer"],
    )
    def test_statements(self, claimer, statements):
        with atomic(), CaptureQueriesContext(connection) as queries:
            claim()

        assert len(queries) == statements

    @pytest.mark.django_db(transaction=True)
    def test_other_errors_propagate(self, claimer):
        with missing_table(), pytest.raises(DatabaseError, match=IdempotencyKey._meta.db_table), atomic():
            claim()

    @pytest.mark.django_db(transaction=True)
    @pytest.mark.parametrize("claimer", CLAIMERS[:3], indirect=True)
    def test_lost_session_is_not_a_lost_claim(self, claimer):
        with pytest.raises(OperationalError) as raised, atomic():  # noqa: PT012
            cut_session()
            claim()

        assert not claims.is_lock_refused(raised.value)
        assert not claims.is_rolled_back(raised.value)

    @pytest.mark.django_db(transaction=True)
    @pytest.mark.engine("postgresql")
    @pytest.mark.parametrize("options", [{"server_side_binding": True}, {"server_side_binding": False}])
    def test_parameters_bound_by_the_server(self, options):
        with connecting_with(**options):
            with atomic():
                won = claim()
                completed = complete(StoredResponse(status=201, body=b"\0"), commit=True)
            with atomic():
                again = claim()
            record = look_up(operation("1"))

        assert (won, completed, again) == (True, True, False)
        assert record is not None
        assert record.response.body == b"\0"


class TestHold:
    @pytest.mark.engine("postgresql")
    @pytest.mark.django_db(transaction=True)
    def test_claim_does_not_wait_for_whoever_holds_the_operation(self, gate):
        def holder():
            with atomic():
                claims.hold(connection, operation("1"))
                pass_gate(gate.path)

        def claimant():
            visitor = gate.wait()
            with atomic():
                won = claim(), claim(2)
            visitor.open()
            return won

        assert together([holder, claimant]) == [None, (False, True)]

    @pytest.mark.engine("mariadb", "sqlite")
    def test_other_engines_need_nothing(self):
        with atomic(), CaptureQueriesContext(connection) as queries:
            claims.hold(connection, operation("1"))

        assert len(queries) == 0


class TestLookUp:
    def test_nothing_is_remembered(self):
        assert look_up(operation("1")) is None

    def test_claimed(self):
        claim()

        record = look_up(operation("1"))

        assert record is not None
        assert not record.completed
        assert not record.expired
        assert not record.renewable
        assert operation("1").fingerprint.matches(record.fingerprint)

    @pytest.mark.parametrize("body", [b"", b"text", bytes(range(256)), None])
    def test_completed_comes_back_as_it_was(self, body):
        response = StoredResponse(status=201, headers=[("Location", "/ü"), ("Link", "a"), ("Link", "b")], body=body)
        claim()
        complete(response)

        record = look_up(operation("1"))

        assert record is not None
        assert record.completed
        assert record.response == response

    def test_response_without_status(self):
        claim()
        complete(StoredResponse())

        record = look_up(operation("1"))

        assert record is not None
        assert record.response.status is None

    def test_expired_and_renewable_are_as_of_the_moments_given(self):
        claim()
        expires = IdempotencyKey.objects.get().expires
        before = expires - timedelta(microseconds=1)

        records = [
            look_up(operation("1"), now=now, forgotten=forgotten)
            for now, forgotten in [(before, before), (expires, before), (expires, expires)]
        ]

        assert [(record.expired, record.renewable) for record in records if record] == [
            (False, False),
            (True, False),
            (True, True),
        ]

    @pytest.mark.parametrize("column", ["namespace", "scope", "key"])
    def test_row_of_another_identity_with_the_same_digest_matches_nothing(self, column):
        claim()
        IdempotencyKey.objects.update(**{column: "other"})

        record = look_up(operation("1"))

        assert record is not None
        assert not operation("1").fingerprint.matches(record.fingerprint)

    def test_one_statement_and_no_lock(self):
        claim()
        with CaptureQueriesContext(connection) as queries:
            look_up(operation("1"))

        assert len(queries) == 1
        assert "FOR UPDATE" not in queries[0]["sql"]


class TestComplete:
    def test_writes_the_response(self):
        claim()

        completed = complete(StoredResponse(status=201, headers=[("ETag", "a")]))

        row = IdempotencyKey.objects.get()
        assert completed
        assert (row.status, row.headers, bytes(row.body or b"")) == (201, [["ETag", "a"]], b"")
        assert row.completed is not None
        assert row.completed >= row.created

    @pytest.mark.engine("mariadb", "sqlite")
    def test_missing_row_is_told(self):
        assert not complete(StoredResponse())

    @pytest.mark.engine("postgresql")
    def test_missing_row_is_written_anew(self):
        claim()
        IdempotencyKey.objects.all().delete()

        assert complete(StoredResponse(status=201))
        assert not claim()
        assert look_up(operation("1")).response.status == 201

    def test_headers_are_json(self):
        claim()
        complete(StoredResponse(headers=[("X", '"\\')]))

        with connection.cursor() as cursor:
            cursor.execute("SELECT headers FROM django_idempotency_idempotencykey")
            assert json.loads(cursor.fetchone()[0]) == [["X", '"\\']]


@pytest.mark.django_db(transaction=True)
class TestCompleteAndCommit:
    def test_writes_the_response(self):
        with atomic():
            claim()
            completed = complete(StoredResponse(status=201, body=b"a"), commit=True)

        row = IdempotencyKey.objects.get()
        assert completed
        assert (row.status, bytes(row.body or b"")) == (201, b"a")

    def test_other_errors_propagate_and_nothing_is_committed(self):
        with pytest.raises(DatabaseError), atomic():  # noqa: PT012
            claim()
            headers: Any = [("X", math.nan)]  # No JSON that a database takes.
            complete(StoredResponse(headers=headers), commit=True)

        assert not IdempotencyKey.objects.exists()


@contextmanager
def elsewhere():
    """Yield a cursor of another session, which commits each statement."""
    other = connection.copy()
    try:
        with other.cursor() as cursor:
            yield cursor
    finally:
        other.close()


def told_by(driver, code):
    """Return Django's error for one of a driver that is not at hand; each tells its code in another way."""
    if driver == "mysqlclient":
        return OperationalError(code, "as the server says")
    error = OperationalError("as the server says")
    error.__cause__ = Exception()
    setattr(error.__cause__, {"psycopg": "sqlstate", "psycopg2": "pgcode"}[driver], code)
    return error


UPDATE = "UPDATE app_account SET balance = balance + 1 WHERE id = %s"
LOCK = "SELECT id FROM app_account WHERE id = %s FOR UPDATE"


@pytest.mark.django_db(transaction=True)
class TestIsLockRefused:
    @pytest.mark.engine("postgresql", "mariadb")
    def test_nowait(self):
        account = AccountFactory.create()
        with atomic(), elsewhere() as cursor:
            Account.objects.select_for_update().get()
            with pytest.raises(OperationalError) as raised:
                cursor.execute(f"{LOCK} NOWAIT", [account.pk])

        assert claims.is_lock_refused(raised.value)
        assert not claims.is_rolled_back(raised.value)

    @pytest.mark.parametrize(
        "limit",
        [
            pytest.param("SET lock_timeout = '10ms'", marks=pytest.mark.engine("postgresql")),
            pytest.param("SET innodb_lock_wait_timeout = 0", marks=pytest.mark.engine("mariadb")),
        ],
    )
    def test_lock_timeout(self, limit):
        account = AccountFactory.create()
        with atomic(), elsewhere() as cursor:
            Account.objects.update(balance=0)
            cursor.execute(limit)
            with pytest.raises(OperationalError) as raised:
                cursor.execute(UPDATE, [account.pk])

        assert claims.is_lock_refused(raised.value)
        assert not claims.is_rolled_back(raised.value)

    @pytest.mark.parametrize(
        ("driver", "code"),
        [("psycopg", "55P03"), ("psycopg2", "55P03"), ("mysqlclient", 1205), ("mysqlclient", 3572)],
    )
    def test_code_of_another_engine_or_driver(self, driver, code):
        assert claims.is_lock_refused(told_by(driver, code))
        assert not claims.is_rolled_back(told_by(driver, code))

    def test_other_errors_are_not_about_locks(self):
        for error in [OperationalError(), OperationalError("1205"), OperationalError(2006, "gone away")]:
            assert not claims.is_lock_refused(error)
            assert not claims.is_rolled_back(error)


@pytest.mark.django_db(transaction=True)
class TestIsRolledBack:
    @pytest.mark.parametrize(
        ("driver", "code"),
        [
            ("psycopg", "40001"),
            ("psycopg", "40P01"),
            ("psycopg2", "40001"),
            ("mysqlclient", 1213),
            ("mysqlclient", 1020),
        ],
    )
    def test_code_of_another_engine_or_driver(self, driver, code):
        assert claims.is_rolled_back(told_by(driver, code))
        assert not claims.is_lock_refused(told_by(driver, code))

    @pytest.mark.engine("postgresql", "mariadb")
    def test_deadlock(self):
        accounts = AccountFactory.create_batch(2)
        both_hold_one = Barrier(2, timeout=TIMEOUT)

        def transfer(*accounts):
            try:
                with atomic(), connection.cursor() as cursor:
                    cursor.execute(UPDATE, [accounts[0].pk])
                    both_hold_one.wait()
                    cursor.execute(UPDATE, [accounts[1].pk])
            except OperationalError as error:
                return error
            return None

        results = together([lambda: transfer(*accounts), lambda: transfer(*reversed(accounts))])

        [error] = [result for result in results if result is not None]
        assert claims.is_rolled_back(error)
        assert not claims.is_lock_refused(error)

    @pytest.mark.parametrize(
        "options",
        [
            pytest.param({"isolation_level": 3}, marks=pytest.mark.engine("postgresql")),  # REPEATABLE READ
            pytest.param(
                {
                    "isolation_level": "repeatable read",
                    "init_command": "SET SESSION innodb_snapshot_isolation = ON",
                },
                marks=pytest.mark.engine("mariadb"),
            ),
            pytest.param(
                {"transaction_mode": "DEFERRED", "init_command": "PRAGMA journal_mode = WAL"},
                marks=pytest.mark.engine("sqlite"),
            ),
        ],
    )
    def test_row_changed_since_the_snapshot(self, options):
        account = AccountFactory.create()
        with connecting_with(**options), pytest.raises(OperationalError) as raised, atomic():  # noqa: PT012
            Account.objects.get()
            with elsewhere() as cursor:
                cursor.execute(UPDATE, [account.pk])
            Account.objects.update(balance=0)

        if connection.vendor == "sqlite":
            connection.cursor().execute("PRAGMA journal_mode = DELETE")
        assert claims.is_rolled_back(raised.value)
        assert not claims.is_lock_refused(raised.value)


class TestTablesWithoutTransactions:
    def test_there_are_none(self):
        assert claims.tables_without_transactions(connection) == []
