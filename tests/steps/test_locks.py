"""Who stands in whose way: a worker that is paused in the middle of a transaction, and a retry."""

from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection

from django_idempotency.exceptions import RequestInProgress
from django_idempotency.models import IdempotencyKey
from django_idempotency.steps import Abort
from tests.coroutines import Stop
from tests.gate import TIMEOUT
from tests.operations import labels
from tests.steps.stepping import leave, run
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


def abort(operation: Any) -> str:
    operation.step("a", leave("a"), undo=leave("undone"))
    raise Abort("aborted")


def abort_and_forget(operation: Any) -> str:
    operation.step("a", leave("a"), undo=leave("undone"))
    raise Abort("")


def fail(operation: Any) -> str:
    raise ValueError


KEYS = IdempotencyKey._meta.db_table


class TestRetryWhileTheOwnerIsPaused:
    """It is told so at once: if it waited, it would wait until the owner goes on, which is after it was told."""

    @pytest.mark.parametrize(
        ("handler", "words"),
        [
            pytest.param(end, ("INSERT", "app_effect"), id="in a step"),
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
