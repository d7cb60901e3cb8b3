"""Jobs and messages that nobody is at, taken up by the calls that were kept."""

import logging
import sys
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest
from celery import Task

from django_idempotency.consumers import process_once
from django_idempotency.exceptions import UsageError
from django_idempotency.models import IdempotencyKey, IdempotentRun
from django_idempotency.resume import Resumed, resume
from django_idempotency.tasks import idempotent_task
from tests.app.views import effect
from tests.gate import TIMEOUT
from tests.jobs.celery_queue import app, deliver
from tests.operations import labels
from tests.steps.stepping import leave, run_out_leases
from tests.threads import together

pytestmark = pytest.mark.django_db(transaction=True)


class JobError(Exception):
    """What a job raises."""


broken = [JobError]


@pytest.fixture(autouse=True)
def until_mended() -> Iterator[None]:
    """Let the jobs fail until the test mends them."""
    broken[:] = [JobError]
    yield
    broken[:] = [JobError]


def work(operation: Any, number: Any) -> Any:
    """Do two things, between which it fails."""
    operation.step("a", leave("a"))
    if broken:
        raise broken[0]
    operation.call("b", lambda key: effect("b"))
    return number


def leave_and_fail(key: str) -> None:
    effect("called")
    raise JobError


@app.task(lazy=False)
@idempotent_task(key="{number}", steps=True, keep_arguments=True)
def celery_job(number: Any, *, operation: Any) -> Any:
    return work(operation, number)


@app.task(lazy=False, bind=True)
@idempotent_task(key="{number}", steps=True, keep_arguments=True)
def bound_job(self: Any, number: Any, *, operation: Any) -> None: ...


@idempotent_task(key="{number}", steps=True, keep_arguments=True, lease=5, ttl=60, on_duplicate="skip")
def plain_job(number: Any, *, operation: Any) -> Any:
    return work(operation, number)


@idempotent_task(key="{number}", steps=True, keep_arguments=True)
def holding_job(number: Any, *, operation: Any) -> None:
    operation.call("charge", leave_and_fail, if_uncertain="hold")


@idempotent_task(key="{number}", steps=True)
def unkept_job(number: Any, *, operation: Any) -> Any:
    return work(operation, number)


@idempotent_task(key="{number}")
def job_of_one_transaction(number: Any) -> None: ...


def handle(number: Any, *, operation: Any) -> None:
    work(operation, number)


def handle_nothing(*, operation: Any) -> None:
    work(operation, 1)


class Consumer:
    def handle(self, *, operation: Any) -> None: ...


def leave_job(job: Any, *args: Any, **kwargs: Any) -> None:
    """Begin a job that fails."""
    if isinstance(job, Task):
        assert isinstance(deliver(job, *args, **kwargs).value, JobError)
        return
    with pytest.raises(JobError):
        job(*args, **kwargs)


def leave_message(**options: Any) -> None:
    """Begin with a message, and fail."""
    with pytest.raises(JobError):
        process_once("billing", "m-1", partial(handle, number=1), steps=True, keep_arguments=True, **options)


class TestJob:
    def test_goes_on_and_stores_the_result(self):
        leave_job(celery_job, "1")
        broken.clear()

        assert resume() == Resumed(ended=1)
        assert labels() == ["a", "b"]
        assert deliver(celery_job, "1").value == "1"
        assert labels() == ["a", "b"]

    def test_is_given_what_it_was_enqueued_with(self):
        arguments = {"items": [1, 2.5, None, True], "é": {"a": "ü"}}
        leave_job(celery_job, number=arguments)
        broken.clear()
        resume()

        assert deliver(celery_job, number=arguments).value == arguments

    def test_keeps_the_manner_of_its_decorator(self):
        leave_job(plain_job, 1)
        broken.clear()
        assert resume() == Resumed(ended=1)

        key = IdempotencyKey.objects.get()
        assert key.completed is not None
        assert (key.expires - key.completed).total_seconds() == 60
        assert plain_job(1) is None

    def test_arguments_are_erased_at_the_end(self):
        leave_job(plain_job, "4242")
        assert IdempotentRun.objects.get().request
        broken.clear()
        resume()

        assert IdempotentRun.objects.get().request == ""

    def test_dead_workers_job_is_taken_up_once_its_lease_has_run_out(self):
        leave_job(plain_job, 1)
        IdempotentRun.objects.update(lease_until="2100-01-01T00:00:00Z")
        broken.clear()

        assert resume() == Resumed()
        run_out_leases()
        assert resume() == Resumed(ended=1)

    def test_that_its_queue_delivers_meanwhile_runs_once(self):
        leave_job(celery_job, "1")
        broken.clear()

        actions: list[Any] = [resume, resume, *[partial(deliver, celery_job, "1")] * 3]
        together(actions)

        assert labels() == ["a", "b"]

    def test_that_fails_again_is_logged_and_failed_after_so_many_attempts(self, caplog):
        leave_job(plain_job, 1)

        with caplog.at_level(logging.ERROR, "django_idempotency"):
            assert [resume(max_attempts=2) for _ in range(3)] == [Resumed(unfinished=1), Resumed(failed=1), Resumed()]

        assert [record.exc_info[0] for record in caplog.records if record.exc_info] == [JobError] * 2
        assert IdempotentRun.objects.get().state == IdempotentRun.State.FAILED
        assert labels() == ["a"]

    def test_next_one_is_taken_up_though_one_fails(self):
        leave_job(plain_job, 1)
        leave_job(plain_job, 2)

        assert resume() == Resumed(unfinished=2)

    def test_whose_arguments_are_not_kept_is_counted(self):
        leave_job(unkept_job, 1)

        assert resume() == Resumed(unkept=1)

    def test_held_call_is_uncertain(self):
        leave_job(holding_job, 1)

        assert [resume(), resume()] == [Resumed(uncertain=1), Resumed()]

    @pytest.mark.parametrize("there", [None, leave, job_of_one_transaction], ids=["gone", "no job", "no steps"])
    def test_whose_function_has_changed_says_so(self, monkeypatch, there):
        leave_job(plain_job, 1)
        broken.clear()
        monkeypatch.setattr(sys.modules[__name__], "plain_job", there)

        assert resume() == Resumed(unfinished=1)
        assert IdempotentRun.objects.get().note.startswith("UsageError: ")
        assert labels() == ["a"]

    def test_whose_steps_have_changed_says_so(self, monkeypatch):
        leave_job(plain_job, 1)
        broken.clear()
        monkeypatch.setattr(sys.modules[__name__], "plain_job", holding_job)

        assert resume() == Resumed(unfinished=1)
        assert IdempotentRun.objects.get().note.startswith("StepsChanged: ")
        assert labels() == ["a"]

    def test_goes_on_after_a_rotation_of_the_secret(self, settings):
        leave_job(plain_job, 1)
        broken.clear()

        settings.SECRET_KEY_FALLBACKS, settings.SECRET_KEY = [settings.SECRET_KEY], "another"
        assert resume() == Resumed(ended=1)

    def test_kept_under_an_unknown_secret_does_not_run(self, settings):
        leave_job(plain_job, 1)
        broken.clear()
        settings.SECRET_KEY = "another"

        assert resume() == Resumed(unfinished=1)
        assert "signed" in IdempotentRun.objects.get().note
        assert labels() == ["a"]

    @pytest.mark.parametrize("argument", [(1, 2), {1: 2}, b"bytes", float("nan")], ids=repr)
    def test_arguments_that_json_would_change_are_refused(self, argument):
        with pytest.raises(UsageError, match="JSON"):
            plain_job(argument)

        assert not IdempotencyKey.objects.exists()

    def test_job_that_takes_itself_is_refused(self):
        assert isinstance(deliver(bound_job, "1").value, UsageError)
        assert not IdempotencyKey.objects.exists()

    def test_function_within_another_is_refused(self):
        @idempotent_task(key="{number}", steps=True, keep_arguments=True)
        def inner(number, *, operation): ...

        with pytest.raises(UsageError, match="by module and name"):
            inner(1)


class TestMessage:
    def test_goes_on(self):
        leave_message(lease=5, ttl=60, reruns=1)
        broken.clear()

        assert resume() == Resumed(ended=1)
        assert labels() == ["a", "b"]
        key = IdempotencyKey.objects.get()
        assert key.completed is not None
        assert (key.expires - key.completed).total_seconds() == 60
        assert process_once("billing", "m-1", partial(handle, 1), steps=True).replayed

    def test_that_its_broker_delivers_meanwhile_runs_once(self):
        leave_message()
        broken.clear()

        def deliver_again():
            process_once("billing", "m-1", partial(handle, 1), steps=True, wait=TIMEOUT)

        together([resume, resume, deliver_again, deliver_again])

        assert labels() == ["a", "b"]

    def test_that_fails_again_is_unfinished(self):
        leave_message()

        assert resume() == Resumed(unfinished=1)
        assert IdempotentRun.objects.get().note == "JobError"

    def test_function_without_arguments_is_kept_too(self):
        with pytest.raises(JobError):
            process_once("billing", "m-1", handle_nothing, steps=True, keep_arguments=True)
        broken.clear()

        assert resume() == Resumed(ended=1)

    @pytest.mark.parametrize(
        "handler",
        [lambda *, operation: None, Consumer().handle, partial(print, 1), partial(handle, object())],
        ids=["lambda", "method", "builtin", "object"],
    )
    def test_handler_that_cannot_be_kept_is_refused(self, handler):
        with pytest.raises(UsageError, match="keep_arguments"):
            process_once("billing", "m-1", handler, steps=True, keep_arguments=True)

        assert not IdempotencyKey.objects.exists()

    def test_keeping_without_steps_is_refused(self):
        with pytest.raises(UsageError, match="steps=True"):
            process_once("billing", "m-1", partial(handle, 1), keep_arguments=True)
