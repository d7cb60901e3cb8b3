"""Who stands in whose way: a worker that is paused in the middle of a transaction, a retry, and a person."""

from collections.abc import Callable
from threading import Event
from typing import Any

import pytest
from django.db import connection

from django_idempotency import changes
from django_idempotency.exceptions import RequestInProgress
from django_idempotency.models import IdempotencyKey, IdempotentRun
from django_idempotency.phases import Overtaken
from django_idempotency.steps import Abort
from tests.coroutines import Stop
from tests.gate import TIMEOUT
from tests.operations import labels, operation
from tests.steps.stepping import key_of, leave, run, run_of, run_out_leases
from tests.steps.test_leases import Thrown

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.engine("postgresql", "mariadb")]


def paused_after(stop: Stop, *words: str) -> Any:
    """Stop this thread once, when a statement has run that has all these *words*, in the middle of its transaction."""

    def execute(execute: Callable[..., Any], sql: str, params: Any, many: bool, context: Any) -> Any:
        result = execute(sql, params, many, context)
        if all(word in sql for word in words) and not stop.reached.is_set():
            stop()
        return result

    return connection.execute_wrapper(execute)


def end(operation: Any) -> str:
    operation.step("a", leave("a"), undo=leave("undone"))
    return "answer"


def end_late(operation: Any) -> str:
    run_out_leases()  # What the step's own transaction extends, nobody else sees before it commits.
    return end(operation)


def abort(operation: Any) -> str:
    operation.step("a", leave("a"), undo=leave("undone"))
    raise Abort("aborted")


def abort_and_forget(operation: Any) -> str:
    operation.step("a", leave("a"), undo=leave("undone"))
    raise Abort("")


def fail(operation: Any) -> str:
    raise ValueError


KEYS = IdempotencyKey._meta.db_table
RUNS = IdempotentRun._meta.db_table


class TestRetryWhileTheOwnerIsPaused:
    """It is told so at once: if it waited, it would wait until the owner goes on, which is after it was told."""

    @pytest.mark.parametrize(
        ("handler", "words"),
        [
            pytest.param(end, ("INSERT", "app_effect"), id="in a step"),
            pytest.param(end_late, ("INSERT", "app_effect"), id="in a step, for longer than its lease"),
            pytest.param(end, ("UPDATE", KEYS), id="at the end"),
            pytest.param(abort, ("UPDATE", KEYS), id="when its abort begins"),
            pytest.param(abort, ("UPDATE", KEYS, "expires"), id="when its abort ends"),
            pytest.param(abort_and_forget, ("DELETE", KEYS), id="when it is forgotten"),
            pytest.param(fail, ("DELETE", KEYS), id="when it fails before any step"),
        ],
    )
    def test_is_in_progress(self, handler, words):
        stop = Stop()

        def work():
            with paused_after(stop, *words):
                return run(handler)

        owner = Thrown(work)
        assert stop.reached.wait(TIMEOUT)
        retry = Thrown(lambda: run(end))
        told = retry.join()
        stop.released.set()
        owner.join()

        assert isinstance(told, RequestInProgress)
        assert labels().count("a") == (0 if handler is fail else 1)


class TestExpireByHand:
    def expire(self, inside: Callable[[], Any] = list) -> list[str]:
        with changes.forgotten([operation().digest]) as keys:
            inside()
        return [key.key for key in keys]

    @pytest.mark.parametrize(
        "words", [("UPDATE", RUNS), ("UPDATE", KEYS), ("INSERT", "app_effect")], ids=["run", "key", "step"]
    )
    def test_waits_for_no_owner_who_is_in_a_transaction(self, words):
        stop = Stop()

        def work():
            with paused_after(stop, *words):
                return run(end)

        owner = Thrown(work)
        assert stop.reached.wait(TIMEOUT)
        expired = Thrown(self.expire).join()
        stop.released.set()

        assert owner.join().value == "answer"
        assert expired == []
        assert key_of().completed

    def test_owner_who_comes_second_writes_nothing(self):
        between, locked, released = Stop(), Event(), Event()

        def handler(operation):
            operation.step("a", leave("a"))
            between()
            return "answer"

        def hold():
            locked.set()
            assert released.wait(TIMEOUT)

        owner = Thrown(lambda: run(handler))
        assert between.reached.wait(TIMEOUT)
        person = Thrown(lambda: self.expire(hold))
        assert locked.wait(TIMEOUT)
        between.released.set()  # Its last transaction waits for the person's, or comes after it.
        released.set()

        assert person.join() == ["key"]
        assert isinstance(owner.join(), Overtaken)
        assert not key_of().completed
        assert run_of().note == "Expired by hand."

    def test_both_at_once_do_not_wait_for_each_other(self):
        """Whoever comes first, nobody is given up by the database."""
        for number in range(20):
            begun = Event()

            def handler(operation, begun=begun):
                operation.step("a", leave("a"))
                begun.set()
                return "answer"

            key = f"key {number}"
            owner = Thrown(lambda key=key, handler=handler: run(handler, key=key))
            assert begun.wait(TIMEOUT)
            with changes.forgotten([operation(key).digest]):
                pass

            outcome = owner.join()
            assert isinstance(outcome, Overtaken) or outcome.value == "answer"
