"""Jobs and messages of several steps: the next delivery goes on where one has failed."""

import uuid
from typing import Any

import pytest
from celery import Task
from celery.exceptions import Retry

from django_idempotency.consumers import process_once
from django_idempotency.exceptions import OutcomeUncertain, RequestInProgress, UsageError
from django_idempotency.models import IdempotentRun
from django_idempotency.phases import Overtaken
from django_idempotency.steps import Abort
from django_idempotency.tasks import idempotent_task
from tests.app.views import effect
from tests.jobs.celery_queue import app, deliver, sent_again
from tests.operations import labels
from tests.steps.stepping import leave, run_out_leases

pytestmark = pytest.mark.django_db(transaction=True)


class JobError(Exception):
    """What a job raises."""


def celery_task(function: Any, **options: Any) -> Task[..., Any]:
    """Make a task with a name of its own."""
    made: Task[..., Any] = app.task(lazy=False, name=uuid.uuid4().hex, **options)(
        idempotent_task(key="{number}", steps=True)(function)
    )
    return made


@pytest.fixture(autouse=True)
def no_messages():
    sent_again()


class TestIdempotentTask:
    def test_next_delivery_goes_on(self):
        failures = [JobError()]

        def job(number, *, operation):
            operation.step("a", leave("a"))
            if failures:
                raise failures.pop()
            return operation.step("b", leave("b", number))

        task = celery_task(job)
        states = [deliver(task, "1", task_id="1") for _ in range(3)]

        assert [state.state for state in states] == ["FAILURE", "SUCCESS", "SUCCESS"]
        assert states[1].value == states[2].value == "1"
        assert labels() == ["a", "b"]

    def test_operation_is_no_argument_of_the_job(self):
        def job(number, *, operation):
            operation.step("a", leave("a"))

        task = celery_task(job)

        with pytest.raises(TypeError):
            task.delay("1", operation="x")
        with pytest.raises(TypeError):
            task.delay()

    def test_abort_ends_it_with_a_result(self):
        def job(number, *, operation):
            operation.step("a", leave("a"), undo=leave("undone"))
            raise Abort("declined")

        task = celery_task(job)

        assert [deliver(task, "1", task_id="1").value for _ in range(2)] == ["declined"] * 2
        assert labels() == ["a", "undone"]

    def test_held_call_fails_the_job(self):
        def call(key):
            effect("called")
            raise JobError

        def job(number, *, operation):
            operation.call("pay", call, if_uncertain="hold")

        task = celery_task(job)

        assert isinstance(deliver(task, "1", task_id="1").value, JobError)
        assert isinstance(deliver(task, "1", task_id="1").value, OutcomeUncertain)
        assert labels() == ["called"]

    def test_overtaken_job_comes_again(self):
        def job(number, *, operation):
            if operation.attempt == 1:
                run_out_leases()
                IdempotentRun.objects.update(attempt=2)
            operation.step("a", leave("a"))

        task = celery_task(job)
        first = deliver(task, "1", task_id="1")

        assert isinstance(first.value, Retry)
        assert isinstance(first.value.exc, RequestInProgress)
        assert labels() == []

    def test_job_that_takes_no_operation_is_refused(self):
        with pytest.raises(UsageError, match="operation"):
            idempotent_task(steps=True)(lambda number: None)

    def test_coroutine_function_is_refused(self):
        async def job(number, *, operation): ...

        with pytest.raises(UsageError, match="plain function"):
            idempotent_task(steps=True)(job)

    @pytest.mark.parametrize("argument", [{"lease": 30}, {"keep_arguments": True}], ids=str)
    def test_argument_without_steps_is_refused(self, argument: dict[str, Any]):
        with pytest.raises(UsageError, match="steps=True"):
            idempotent_task(**argument)


class TestProcessOnce:
    def test_next_delivery_goes_on(self):
        failures = [JobError()]

        def handler(*, operation):
            operation.step("a", leave("a"))
            if failures:
                raise failures.pop()
            operation.step("b", leave("b"))

        with pytest.raises(JobError):
            process_once("billing", "1", handler, steps=True)
        outcomes = [process_once("billing", "1", handler, steps=True, lease=5) for _ in range(2)]

        assert [outcome.replayed for outcome in outcomes] == [False, True]
        assert labels() == ["a", "b"]

    def test_overtaken_worker_returns_the_message(self):
        def handler(*, operation):
            IdempotentRun.objects.update(attempt=2)
            operation.step("a", leave("a"))

        with pytest.raises(Overtaken):
            process_once("billing", "1", handler, steps=True)

        assert labels() == []

    @pytest.mark.parametrize("arguments", [{"lease": 5}, {"steps": True, "lease": 0}], ids=str)
    def test_lease_that_cannot_be_meant_is_refused(self, arguments):
        with pytest.raises(UsageError, match="lease must be"):
            process_once("billing", "1", leave("a"), **arguments)

        assert labels() == []
