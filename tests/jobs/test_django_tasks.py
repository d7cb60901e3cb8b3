"""Background jobs, as django.tasks runs them (Django 6.0 and newer)."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest
from asgiref.sync import sync_to_async
from django.tasks import task
from django.utils import timezone

from django_idempotency.exceptions import RequestInProgress, UsageError
from django_idempotency.models import IdempotencyKey
from django_idempotency.tasks import idempotent_task
from tests.app.models import Effect
from tests.jobs.django_queue import enqueued, perform

pytestmark = pytest.mark.django_db


class JobError(Exception):
    """What a job raises."""


# What happens while a job runs: a test puts it here.
meanwhile: list[Callable[[], object]] = []


@pytest.fixture(autouse=True)
def empty():
    meanwhile.clear()
    enqueued.clear()


def work(label: str) -> int:
    pk = Effect.objects.create(label=label).pk
    while meanwhile:
        meanwhile.pop()()
    if label == "bad":
        raise JobError
    return pk


@task(backend="deferring", takes_context=True)
@idempotent_task(retry_delay=30)
def capture(context, label="a"):
    return work(label)


@task(backend="deferring", takes_context=True)
@idempotent_task(retry_delay=30)
async def acapture(context, label="a"):
    return await sync_to_async(work)(label)


@task(backend="deferring")
@idempotent_task(key="order-{label}")
def keyed(label):
    return work(label)


@task(backend="deferring")
@idempotent_task
def without_context():
    work("never")


@task(takes_context=True)
@idempotent_task
def at_once(context):
    return perform(context.task_result)


class TestIdempotentTask:
    @pytest.mark.parametrize("job", [capture, acapture])
    def test_second_delivery_returns_the_stored_result(self, job):
        result = job.enqueue("a")

        first = perform(result)
        second = perform(result)

        assert second == first
        assert Effect.objects.count() == 1

    def test_enqueued_twice_is_two_jobs(self):
        perform(capture.enqueue("a"))
        perform(capture.enqueue("a"))

        assert Effect.objects.count() == 2

    def test_enqueued_twice_with_one_key_is_one_job(self):
        first = perform(keyed.enqueue("a"))
        second = perform(keyed.enqueue(label="a"))

        assert second == first
        assert IdempotencyKey.objects.get().key == "order-a"
        assert Effect.objects.count() == 1

    def test_namespace_is_the_path_of_the_task(self):
        perform(capture.enqueue())

        key = IdempotencyKey.objects.get()
        assert (key.namespace, key.scope) == ("tests.jobs.test_django_tasks.capture", "task")

    @pytest.mark.parametrize("job", [capture, acapture])
    def test_exception_forgets_the_job(self, job):
        with pytest.raises(JobError):
            perform(job.enqueue("bad"))

        assert not Effect.objects.exists()
        assert not IdempotencyKey.objects.exists()

    def test_task_without_context_and_key_is_refused(self):
        with pytest.raises(UsageError, match="takes_context=True"):
            perform(without_context.enqueue())

        assert not Effect.objects.exists()

    @pytest.mark.parametrize("job", [capture, acapture])
    def test_duplicate_in_flight_is_enqueued_again_with_its_key(self, job):
        result = job.enqueue("a")
        refusals = []

        def deliver_again():
            with pytest.raises(RequestInProgress) as raised:
                perform(result)
            refusals.append(str(raised.value))

        meanwhile.append(deliver_again)
        first = perform(result)
        again = enqueued[-1]
        second = perform(again)

        assert again.id != result.id
        assert again.id in refusals[0]
        assert again.task.run_after
        assert timedelta(seconds=20) < again.task.run_after - timezone.now() < timedelta(seconds=31)
        assert second == first
        assert Effect.objects.count() == 1

    def test_duplicate_in_flight_fails_where_the_backend_cannot_defer(self):
        result = at_once.enqueue()

        assert result.errors[0].exception_class is RequestInProgress
        assert "enqueue it again" in result.errors[0].traceback

    def test_duplicate_in_flight_fails_without_context(self):
        def deliver_again():
            with pytest.raises(RequestInProgress, match="Call it again"):
                perform(keyed.enqueue("a"))

        meanwhile.append(deliver_again)
        perform(keyed.enqueue("a"))

        assert len(enqueued) == 2
        assert Effect.objects.count() == 1

    def test_above_the_decorator_is_refused(self):
        with pytest.raises(TypeError, match="@task first"):
            idempotent_task(capture)  # type: ignore[call-overload]  # refused by its types, too
