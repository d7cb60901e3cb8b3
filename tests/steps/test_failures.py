"""What becomes of an operation when the database fails, and when a handler does what it must not."""

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from typing import Any

import pytest
from django.db import OperationalError, connection, connections
from django.http import HttpResponse
from django.test import RequestFactory

from django_idempotency.decorators import idempotent
from django_idempotency.exceptions import RequestInProgress, UsageError
from django_idempotency.kept import keep
from django_idempotency.models import IdempotencyKey
from django_idempotency.steps import Abort
from tests.doors import send
from tests.gate import TIMEOUT
from tests.jobs.faults import give_up
from tests.operations import labels
from tests.steps.stepping import leave, run, run_of, run_out_leases, steps_of, taken

pytestmark = pytest.mark.django_db(transaction=True)


@contextmanager
def unreachable_database() -> Iterator[None]:
    """Let new connections, in any thread, fail: there is no such database."""
    settings = (connections.settings["default"], connection.settings_dict)
    name = connection.settings_dict["NAME"]
    for each in settings:
        each["NAME"] = "/nowhere/at/all"
    try:
        yield
    finally:
        for each in settings:
            each["NAME"] = name


def failing_before(words: str, fail: Callable[[], None]) -> Any:
    """Have the database report a failure, once, instead of a statement with these *words*."""
    failures = [fail]

    def execute(execute: Callable[..., Any], sql: str, params: Any, many: bool, context: Any) -> Any:
        if words in sql and failures:
            failures.pop()()
        return execute(sql, params, many, context)

    return connection.execute_wrapper(execute)


def cancel() -> None:
    """Let the server report that somebody has cancelled the statement."""
    statement = {
        "postgresql": "DO $$ BEGIN RAISE EXCEPTION 'cancelled' USING ERRCODE = '57014'; END $$",
        "mysql": "SIGNAL SQLSTATE '70100' SET MYSQL_ERRNO = 1317, MESSAGE_TEXT = 'cancelled'",
    }[connection.vendor]
    with connection.cursor() as cursor:
        cursor.execute(statement)


class TestDatabase:
    def test_beat_that_fails_is_logged_and_does_not_end_the_operation(self, caplog):
        def handler(operation):
            operation.step("a", leave("a"))
            with unreachable_database():
                deadline = time.monotonic() + TIMEOUT
                while "event=heartbeat_failed" not in caplog.text:
                    assert time.monotonic() < deadline
                    time.sleep(0.01)
            operation.step("b", leave("b"))
            return "answer"

        with caplog.at_level(logging.WARNING, "django_idempotency"):
            assert run(handler, lease=timedelta(seconds=1)).value == "answer"
        assert labels() == ["a", "b"]

    def test_lease_that_cannot_be_given_back_runs_out(self, caplog):
        with ExitStack() as outage:

            def handler(operation):
                operation.step("a", leave("a"))
                connection.close()
                outage.enter_context(unreachable_database())
                raise ValueError("the handler's")

            with pytest.raises(ValueError, match="the handler's"):
                run(handler)
        assert "event=release_failed" in caplog.text
        with pytest.raises(RequestInProgress):
            run(lambda operation: "answer")
        run_out_leases()

        assert run(lambda operation: [operation.step("a", leave("a")), "answer"][1]).value == "answer"
        assert labels() == ["a"]

    @pytest.mark.engine("postgresql", "mariadb")
    def test_takeover_that_is_given_up_is_in_progress(self):
        taken()
        run_out_leases()

        with failing_before("SKIP LOCKED", give_up), pytest.raises(RequestInProgress):
            run(lambda operation: "answer")
        assert run(lambda operation: "answer").value == "answer"

    @pytest.mark.engine("postgresql", "mariadb")
    def test_takeover_that_fails_otherwise_raises(self):
        taken()
        run_out_leases()

        with failing_before("SKIP LOCKED", cancel), pytest.raises(OperationalError, match="cancelled"):
            run(lambda operation: "answer")
        assert run(lambda operation: "answer").value == "answer"

    @pytest.mark.engine("postgresql", "mariadb")
    @pytest.mark.parametrize("reruns", [0, 1])
    def test_step_that_is_given_up_runs_again_as_often_as_is_asked_for(self, reruns):
        failures = [give_up]

        def step():
            leave("a")()
            if failures:
                failures.pop()()

        def handler(operation):
            operation.step("a", step)
            return "answer"

        if reruns:
            assert run(handler, reruns=reruns).value == "answer"
        else:
            with pytest.raises(OperationalError):
                run(handler)
        assert labels() == ["a"] * reruns


class TestHandler:
    def test_that_deletes_its_key_is_told(self):
        def handler(operation):
            operation.step("a", leave("a"))
            IdempotencyKey.objects.all().delete()
            return "answer"

        with pytest.raises(UsageError, match="was deleted"):
            run(handler)

    def test_that_aborts_within_a_step_leaves_nothing_of_it(self):
        def abort():
            leave("b")()
            raise Abort("aborted")

        def handler(operation):
            operation.step("a", leave("a"), undo=leave("undone"))
            operation.step("b", abort)

        assert [run(handler).value for _ in range(2)] == ["aborted"] * 2
        assert labels() == ["a", "undone"]

    def test_that_asks_for_nothing_more_is_undone_all_the_same(self):
        failures = [ValueError("the undo")]

        def undo(result):
            if failures:
                raise failures.pop()
            leave("undone")()

        def handler(operation):
            operation.step("a", leave("a"), undo=undo)
            if failures:
                raise Abort("aborted")
            return "answer"

        with pytest.raises(ValueError, match="the undo"):
            run(handler)

        assert run(handler).value == "aborted"
        assert labels() == ["a", "undone"]
        assert steps_of() == [("a", "undone")]

    def test_within_another_operation_is_refused(self):
        def handler(request, *, operation):
            leave("a")()

        inner: Any = idempotent(steps=True)(handler)

        @idempotent
        def outer(request):
            with pytest.raises(UsageError, match="within another operation"):
                inner(request)
            return HttpResponse(status=201)

        assert send(outer, key="1").status_code == 201
        assert labels() == []

    def test_before_which_the_body_was_consumed_cannot_have_its_request_kept(self):
        request = RequestFactory().post("/", "body", content_type="text/plain")
        request.read()

        with pytest.raises(UsageError, match="body is in memory"):
            keep(request)

    def test_note_says_what_has_ended_the_attempt(self):
        def handler(operation):
            operation.step("a", leave("a"))
            raise ValueError

        with pytest.raises(ValueError):  # noqa: PT011 - the handler's
            run(handler)

        assert run_of().note == "ValueError"
