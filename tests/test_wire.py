"""What is sent to PostgreSQL, message by message."""

import re
import tempfile
from contextlib import contextmanager, nullcontext
from http import HTTPStatus

import psycopg
import pytest
from django.db import DataError, IntegrityError, OperationalError, ProgrammingError, connections
from django.db.transaction import TransactionManagementError, atomic, on_commit, set_rollback
from django.http import HttpResponse
from django.test.utils import CaptureQueriesContext
from django.utils.safestring import SafeString

from django_idempotency import wire
from tests.app.faults import cut_session
from tests.app.models import Deferred, Effect
from tests.app.views import effect
from tests.doors import function, send
from tests.operations import connecting_with, labels

pytestmark = [pytest.mark.engine("postgresql"), pytest.mark.django_db(transaction=True)]

connection = connections["default"]
INSERT = "INSERT INTO app_effect (label, created) VALUES (%s, now())"


@contextmanager
def messages():
    """Yield a list that holds, in the end, each query that was sent in the block."""
    connection.ensure_connection()
    pgconn = connection.connection.pgconn
    sent: list[str] = []
    with tempfile.TemporaryFile("w+b") as file:
        pgconn.trace(file.fileno())
        try:
            yield sent
        finally:
            pgconn.untrace()
            file.seek(0)
            sent += re.findall(r'\tF\t\d+\tQuery\t "(.*)"', file.read().decode())


def value_of(sql):
    with connection.cursor() as cursor:
        cursor.execute(sql)
        return cursor.fetchone()[0]


class TestExecute:
    def test_begin_and_commit_go_with_the_statements(self):
        with messages() as sent, atomic():
            written = wire.execute(connection, INSERT, ["a"])
            wire.execute(connection, INSERT, ["b"], commit=True)

        assert [re.sub(" INTO.*?now..", "", message) for message in sent] == ["BEGIN; INSERT)", "INSERT); COMMIT"]
        assert written == 1
        assert labels() == ["a", "b"]

    def test_one_statement_is_one_message(self):
        with messages() as sent, atomic():
            wire.execute(connection, INSERT, ["a"], commit=True)

        assert len(sent) == 1
        assert labels() == ["a"]

    @pytest.mark.parametrize("watched", [False, True])
    def test_row_serves_several_statements(self, watched):
        row = wire.Row(["a", 1])
        with atomic():
            wire.execute(connection, "INSERT INTO app_effect (label, created) SELECT %s, now() WHERE %s = 1", row)
            with CaptureQueriesContext(connection) if watched else nullcontext():
                wire.execute(
                    connection, "INSERT INTO app_effect (label, created) SELECT %s || %s || %s, now()", row, "b"
                )

        assert labels() == ["a", "a1b"]

    def test_request_sends_no_more_messages_than_its_handler_in_atomic(self):
        def handler(request):
            effect("a")
            return HttpResponse(status=201)

        send(function(handler), key="warm-up")
        with messages() as unguarded, atomic():
            handler(None)
        with messages() as guarded:
            send(function(handler), key="k")

        assert len(guarded) == len(unguarded) == 3

    def test_what_waits_for_the_commit_runs_once(self):
        ran = []
        with atomic():
            on_commit(lambda: ran.append(labels()))
            wire.execute(connection, INSERT, ["a"], commit=True)

        assert ran == [["a"]]

    def test_commit_that_fails_keeps_nothing(self):
        with pytest.raises(IntegrityError), atomic():  # noqa: PT012
            Deferred.objects.create(account_id=404)
            wire.execute(connection, INSERT, ["a"], commit=True)

        assert labels() == []

    def test_statement_that_fails_is_not_committed(self):
        with pytest.raises(DataError), atomic():  # noqa: PT012
            effect("a")
            wire.execute(connection, "SELECT 1 / %s", [0], commit=True)

        assert labels() == []

    def test_without_commit_a_rollback_takes_it_back(self):
        with atomic():
            wire.execute(connection, INSERT, ["a"])
            set_rollback(True)

        assert labels() == []

    def test_transaction_that_is_open_goes_on(self):
        with atomic():
            effect("a")
            with pytest.raises(IntegrityError), atomic():
                wire.execute(connection, "INSERT INTO app_effect (label, created) VALUES (%s, NULL)", ["b"])
            wire.execute(connection, INSERT, ["c"])

        assert labels() == ["a", "c"]

    def test_broken_transaction_is_refused(self):
        with pytest.raises(TransactionManagementError), atomic():  # noqa: PT012
            set_rollback(True)
            wire.execute(connection, INSERT, ["a"])

    def test_lost_session_is_an_operational_error(self):
        with pytest.raises(OperationalError), atomic():  # noqa: PT012
            cut_session()
            wire.execute(connection, INSERT, ["a"])

    @pytest.mark.parametrize("level", psycopg.IsolationLevel)
    def test_isolation_level_is_the_connections(self, level):
        with connecting_with(isolation_level=level), atomic():
            wire.execute(connection, INSERT, ["a"])
            shown = value_of("SHOW transaction_isolation")

        assert shown == level.name.lower().replace("_", " ")

    @pytest.mark.parametrize(
        ("options", "begin"),
        [
            ({"read_only": True}, "BEGIN READ ONLY"),
            ({"read_only": False}, "BEGIN READ WRITE"),
            ({"deferrable": True}, "BEGIN DEFERRABLE"),
            ({"deferrable": False}, "BEGIN NOT DEFERRABLE"),
            (
                {"isolation_level": psycopg.IsolationLevel.SERIALIZABLE, "read_only": True, "deferrable": True},
                "BEGIN ISOLATION LEVEL SERIALIZABLE READ ONLY DEFERRABLE",
            ),
        ],
    )
    def test_transaction_is_of_the_kind_that_the_connection_is_set_to(self, options, begin):
        with connecting_with():
            connection.ensure_connection()
            for name, value in options.items():
                setattr(connection.connection, name, value)
            with messages() as sent, atomic():
                wire.execute(connection, "SELECT %s", [1])

        assert sent[0] == f"{begin}; SELECT 1"

    @pytest.mark.parametrize("standard_conforming_strings", ["on", "off"])
    @pytest.mark.parametrize(
        ("value", "cast"),
        [
            (None, "text"),
            (-7, "int"),
            (HTTPStatus.CREATED, "smallint"),
            ("it's \\ 100 % \" ü €", "text"),
            (SafeString("\\'); DROP TABLE app_effect; --"), "text"),
            ("", "text"),
            (bytes(range(256)), "bytea"),
            (b"", "bytea"),
        ],
    )
    def test_values_arrive_as_they_are(self, value, cast, standard_conforming_strings):
        with atomic():
            connection.cursor().execute(f"SET LOCAL standard_conforming_strings = {standard_conforming_strings}")
            assert wire.is_direct(connection)
            wire.execute(
                connection, f"CREATE TEMPORARY TABLE sent ON COMMIT DROP AS SELECT %s::{cast} AS value", [value]
            )

            assert value_of("SELECT value FROM sent") == value

    def test_nul_is_refused(self):
        with pytest.raises(DataError, match="NUL"), atomic():
            wire.execute(connection, INSERT, ["a\0'"])

        assert not Effect.objects.exists()


class TestIsDirect:
    def test_unwatched_connection(self):
        connection.ensure_connection()

        assert wire.is_direct(connection)

    def test_watched_statements_are_seen_one_by_one(self):
        with CaptureQueriesContext(connection) as queries, atomic():
            wire.execute(connection, INSERT, ["a"], commit=True)

        assert [query["sql"].split()[0] for query in queries] == ["BEGIN", "INSERT", "COMMIT"]

    def test_wrapped_statements_are_seen(self):
        seen = []

        def watch(execute, sql, params, many, context):
            seen.append(params)
            return execute(sql, params, many, context)

        with connection.execute_wrapper(watch), atomic():
            wire.execute(connection, INSERT, ["a"], commit=True)

        assert seen == [["a"]]

    def test_replaced_cursors_are_used(self, monkeypatch):
        opened = []
        cursor = connection.cursor

        def watched_cursor():
            opened.append(1)
            return cursor()

        monkeypatch.setattr(connection, "cursor", watched_cursor)
        with atomic():
            wire.execute(connection, INSERT, ["a"])

        assert opened

    def test_other_class_of_cursors_is_used(self):
        class Cursor(psycopg.ClientCursor):
            pass

        with connecting_with():
            connection.ensure_connection()
            connection.connection.cursor_factory = Cursor

            assert not wire.is_direct(connection)

    def test_parameters_bound_by_the_server_are_left_to_it(self):
        with connecting_with(server_side_binding=True):
            with atomic():
                wire.execute(connection, INSERT, ["a"])
            assert not wire.is_direct(connection)

        assert labels() == ["a"]


class TestPrepared:
    @pytest.fixture(autouse=True)
    def _prepares(self):
        with connecting_with(prepare_threshold=2):
            yield

    @staticmethod
    def execute(label, *, commit=False):
        return wire.execute(connection, INSERT, wire.Row([label]), commit=commit)

    def execute_each(self, labels):
        for label in labels:
            with atomic():
                self.execute(label)

    @staticmethod
    def names():
        with connection.cursor() as cursor:
            cursor.execute("SELECT name FROM pg_prepared_statements WHERE name LIKE 'idempotency%'")
            return [name for (name,) in cursor.fetchall()]

    def test_nothing_is_prepared_where_the_project_says_so(self):
        with connecting_with(prepare_threshold=None), messages() as sent:
            self.execute_each("abcdefghij")
            assert self.names() == []

        assert not any("PREPARE" in message or "pg_backend_pid" in message for message in sent)

    def test_without_a_word_of_the_project_five_executions_come_first(self, monkeypatch):
        monkeypatch.delitem(connection.settings_dict["OPTIONS"], "prepare_threshold")
        self.execute_each("abcde")
        assert self.names() == []

        self.execute_each("f")
        assert len(self.names()) == 1
        assert labels() == list("abcdef")

    def test_nothing_is_prepared_where_another_process_serves_than_was_told(self, monkeypatch):
        monkeypatch.setattr(psycopg.ConnectionInfo, "backend_pid", 1)  # As a pooler does.
        with messages() as sent:
            self.execute_each("abcdef")

        assert labels() == list("abcdef")
        assert self.names() == []
        assert sum("SELECT pg_backend_pid() = 1;" in message for message in sent) == 1

    def test_statement_is_prepared_after_so_many_executions_and_once(self):
        with messages() as sent:
            for label in "abcde":
                with atomic():
                    assert self.execute(label, commit=True) == 1

        kinds = [re.sub(" idempotency_.*?(?=; |$)| INTO.*?(?=; |$)| = .*?(?=; |$)", "", message) for message in sent]
        assert kinds == [
            "BEGIN; INSERT; COMMIT",
            "BEGIN; SELECT pg_backend_pid(); INSERT; COMMIT",
            "BEGIN; PREPARE; EXECUTE; COMMIT",
            "BEGIN; EXECUTE; COMMIT",
            "BEGIN; EXECUTE; COMMIT",
        ]
        assert labels() == list("abcde")
        assert len(self.names()) == 1

    @pytest.mark.parametrize("level", psycopg.IsolationLevel)
    def test_transaction_has_the_connections_isolation_level(self, level):
        connection.ensure_connection()
        connection.connection.isolation_level = level
        for label in "abcd":
            with atomic():
                self.execute(label)
                assert value_of("SHOW transaction_isolation") == level.name.lower().replace("_", " ")

        assert labels() == list("abcd")
        assert len(self.names()) == 1

    def test_statement_is_prepared_in_the_callers_transaction_too(self):
        with atomic():
            effect("first")
            for label in "abcd":
                assert self.execute(label) == 1
            set_rollback(True)
        with atomic():
            assert self.execute("e") == 1

        assert labels() == ["e"]
        assert len(self.names()) == 1

    def test_statement_is_for_the_schema_that_is_searched_now(self):
        self.execute_each("abc")
        with atomic(), connection.cursor() as cursor:
            cursor.execute("CREATE SCHEMA tenant")
            cursor.execute("CREATE TABLE tenant.app_effect (LIKE public.app_effect INCLUDING ALL)")
            cursor.execute("SET LOCAL search_path TO tenant")
            self.execute("d")
            assert value_of("SELECT array_agg(label) FROM tenant.app_effect") == ["d"]
            assert value_of("SELECT array_agg(label) FROM public.app_effect") == ["a", "b", "c"]
            assert len(self.names()) == 1
            set_rollback(True)

    def test_each_statement_has_its_own(self):
        for label in "abcd":
            with atomic():
                self.execute(label)
                wire.execute(connection, "DELETE FROM app_effect WHERE label = %s", wire.Row([label]))

        assert labels() == []
        assert len(self.names()) == 2

    @pytest.mark.parametrize("label", ["it's \\ 100 % $1 %s", ""])
    def test_values_arrive_as_they_are(self, label):
        for _ in range(4):
            with atomic():
                self.execute(label)

        assert labels() == [label] * 4

    def test_what_failed_while_it_was_prepared_is_prepared_anew(self):
        self.execute_each("ab")
        with pytest.raises(IntegrityError), atomic():  # noqa: PT012
            Deferred.objects.create(account_id=404)
            self.execute("lost", commit=True)
        self.execute_each("cd")

        assert labels() == list("abcd")
        assert len(self.names()) == 2

    def test_session_that_has_lost_them_prepares_no_more(self):
        self.execute_each("abc")
        connection.cursor().execute("DEALLOCATE ALL")

        with pytest.raises(ProgrammingError, match="does not exist"), atomic():
            self.execute("lost")
        self.execute_each("defg")

        assert labels() == list("abcdefg")
        assert self.names() == []

    def test_statement_is_prepared_only_behind_one_that_is(self):
        delete = "DELETE FROM app_effect WHERE label = %s"
        for label in "abcd":
            with atomic():
                row = wire.Row([label])
                with connection.execute_wrapper(lambda execute, *args: execute(*args)):
                    wire.execute(connection, INSERT, row)
                wire.execute(connection, delete, row)

        assert labels() == []
        assert self.names() == []

    def test_statement_is_not_prepared_behind_one_that_is_not_yet(self):
        prepared = []
        for label in "abc":
            with messages() as sent, atomic():
                row = wire.Row([label])
                wire.execute(connection, INSERT, row)
                wire.execute(connection, "DELETE FROM app_effect WHERE label = %s", row)
            prepared.append(["PREPARE" in message for message in sent[:2]])

        assert prepared == [[False, False], [False, False], [True, True]]

    def test_threshold_0_asks_at_once(self):
        with connecting_with(prepare_threshold=0):
            self.execute_each("ab")
            assert len(self.names()) == 1

    def test_values_of_one_statement_alone_are_not_prepared(self):
        for label in "abcd":
            with atomic():
                wire.execute(connection, INSERT, [label])

        assert labels() == list("abcd")
        assert self.names() == []

    def test_other_error_loses_nothing(self):
        self.execute_each("abc")
        with pytest.raises(IntegrityError), atomic():  # noqa: PT012
            Deferred.objects.create(account_id=404)
            self.execute("lost", commit=True)
        with atomic():
            self.execute("d")

        assert labels() == list("abcd")
        assert len(self.names()) == 1

    def test_new_session_prepares_for_itself(self):
        self.execute_each("abc")
        connection.close()
        self.execute_each("def")

        assert labels() == list("abcdef")
        assert len(self.names()) == 1

    def test_operation_runs_once(self):
        def handler(request):
            effect("a")
            return HttpResponse(request.headers["Idempotency-Key"], status=201)

        view = function(handler)
        for _ in range(2):
            answers = [send(view, key=f"k{number}") for number in range(5)]
            assert [answer.content.decode() for answer in answers] == [f"k{number}" for number in range(5)]

        assert labels() == ["a"] * 5
        assert len(self.names()) == 2

    @pytest.mark.parametrize("within", [nullcontext, atomic])
    def test_operation_that_misses_its_statements_runs_all_the_same(self, within):
        def handler(request):
            effect("a")
            return HttpResponse(status=201)

        view = function(handler)
        for number in range(5):
            send(view, key=f"k{number}")
        connection.cursor().execute("DEALLOCATE ALL")
        with within():
            answers = [send(view, key=key) for key in ("new", "new", "k0")]

        assert [answer.status_code for answer in answers] == [201] * 3
        assert ["Idempotent-Replayed" in answer for answer in answers] == [False, True, True]
        assert labels() == ["a"] * 6
        assert self.names() == []

    def test_operation_that_loses_its_statements_midway_rolls_back_and_its_retry_runs(self):
        lossy = [True]

        def handler(request):
            effect("a")
            if lossy and request.headers["Idempotency-Key"] == "new":
                lossy.clear()
                connection.cursor().execute("DEALLOCATE ALL")
            return HttpResponse(status=201)

        view = function(handler)
        for number in range(5):
            send(view, key=f"k{number}")
        assert send(view, key="new").status_code == 500
        assert labels() == ["a"] * 5

        answers = [send(view, key="new") for _ in range(2)]
        assert [answer.status_code for answer in answers] == [201, 201]
        assert ["Idempotent-Replayed" in answer for answer in answers] == [False, True]
        assert labels() == ["a"] * 6
