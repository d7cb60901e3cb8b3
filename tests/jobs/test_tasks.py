"""Background jobs, as queues deliver them."""

from __future__ import annotations

import subprocess
import sys
import uuid
from collections.abc import Callable
from datetime import date, timedelta
from decimal import Decimal
from inspect import signature
from textwrap import dedent
from typing import Any

import pytest
from celery import Celery, Task, shared_task
from celery.exceptions import Ignore, Reject
from django.db import connection
from django.utils import timezone
from kombu.exceptions import OperationalError as BrokerError

from django_idempotency.consumers import process_once
from django_idempotency.exceptions import (
    KeyReused,
    RequestInProgress,
    ResponseExpired,
    ResponseNotStored,
    UsageError,
)
from django_idempotency.models import IdempotencyKey
from django_idempotency.tasks import DuplicateTask, idempotent_task
from tests.app.models import Effect
from tests.gate import pass_gate
from tests.jobs.celery_queue import app, deliver, sent_again
from tests.jobs.faults import give_up
from tests.threads import together

pytestmark = pytest.mark.django_db


class JobError(Exception):
    """What a job raises."""


def work(label: str = "a", **_: Any) -> dict[str, Any]:
    """Leave a row behind, and return a result that no other run returns."""
    Effect.objects.create(label=label)
    return {"id": uuid.uuid4().hex}


async def awork(label: str = "a", **_: Any) -> dict[str, Any]:
    await Effect.objects.acreate(label=label)
    return {"id": uuid.uuid4().hex}


def celery_task(function: Callable[..., Any], **options: Any) -> Task[..., Any]:
    """Make a task with a name of its own."""
    options.setdefault("name", uuid.uuid4().hex)
    made: Task[..., Any] = app.task(lazy=False, **options)(function)
    return made


@pytest.fixture(autouse=True)
def no_messages():
    sent_again()


class TestIdempotentTask:
    @pytest.mark.parametrize("function", [work, awork])
    def test_second_delivery_returns_the_stored_result(self, function):
        job = celery_task(idempotent_task(function))

        first = deliver(job, task_id="a")
        second = deliver(job, task_id="a")

        assert first.state == second.state == "SUCCESS"
        assert second.value == first.value
        assert Effect.objects.count() == 1

    @pytest.mark.parametrize("function", [work, awork])
    def test_eager_task_is_guarded(self, function):
        job = celery_task(idempotent_task(function))

        first = job.apply(task_id="a")
        second = job.apply(task_id="a")

        assert second.get() == first.get()
        assert Effect.objects.count() == 1

    def test_other_task_id_is_another_job(self):
        job = celery_task(idempotent_task(work))

        deliver(job)
        deliver(job)

        assert Effect.objects.count() == 2

    def test_other_task_is_another_job(self):
        deliver(celery_task(idempotent_task(work)), task_id="a")
        deliver(celery_task(idempotent_task(work)), task_id="a")

        assert Effect.objects.count() == 2

    def test_namespace_is_the_name_of_the_task(self):
        deliver(celery_task(idempotent_task(work), name="billing.capture"), task_id="a")
        deliver(celery_task(idempotent_task(work), name="billing." + "x" * 100), task_id="a")
        idempotent_task(key="{label}")(work)("a")

        namespaces = sorted(IdempotencyKey.objects.filter(scope="task").values_list("namespace", flat=True))
        assert namespaces[0] == "billing.capture"
        assert namespaces[1].startswith("billing.xxx")
        assert len(namespaces[1]) == 100
        assert namespaces[2] == "tests.jobs.test_tasks.work"

    def test_bound_task_is_guarded(self):
        @idempotent_task
        def function(self, label):
            return self.request.id, work(label)["id"]

        job = celery_task(function, bind=True)
        first = deliver(job, "x", task_id="a")
        second = deliver(job, "x", task_id="a")

        assert second.value == list(first.value)
        assert first.value[0] == "a"
        assert Effect.objects.count() == 1

    def test_bound_task_of_any_arguments_is_guarded(self):
        @idempotent_task
        def function(*args):
            return work(args[1])

        job = celery_task(function, bind=True)
        deliver(job, "x", task_id="a")
        deliver(job, "x", task_id="a")

        assert Effect.objects.get().label == "x"

    def test_bound_coroutine_finds_its_request(self):
        @idempotent_task
        async def function(self):
            return self.request.id

        assert deliver(celery_task(function, bind=True), task_id="a").value == "a"

    def test_method_of_a_task_class_is_guarded(self):
        class Job(Task[..., Any]):
            name = "class-based"

            @idempotent_task
            def run(self, label):
                return work(label)

        job = app.register_task(Job())
        deliver(job, "x", task_id="a")
        deliver(job, "x", task_id="a")

        assert Effect.objects.count() == 1

    def test_shared_task_is_guarded(self):
        job = shared_task(name="shared")(idempotent_task(work))
        app.finalize()

        first = job.apply(task_id="a")
        second = job.apply(task_id="a")

        assert second.get() == first.get()

    def test_keeps_the_signature(self):
        def function(order_id: int, *, quick: bool = False) -> str:
            """Do it."""
            return "done"

        guarded = idempotent_task(function)

        assert signature(guarded) == signature(function)
        assert guarded.__doc__ == "Do it."
        with pytest.raises(TypeError, match="order_id"):
            celery_task(guarded).delay()

    def test_wrong_arguments_are_the_callers_fault(self):
        job = celery_task(idempotent_task(work), typing=False)

        assert isinstance(deliver(job, 1, 2).value, TypeError)
        assert not IdempotencyKey.objects.exists()

    # What forgets a job

    @pytest.mark.parametrize("error", [JobError(), Ignore(), Reject("no"), UsageError("no")])
    def test_exception_forgets_the_job(self, error):
        @idempotent_task
        def function():
            work()
            raise error

        job = celery_task(function)
        deliver(job, task_id="a")

        assert not Effect.objects.exists()
        assert not IdempotencyKey.objects.exists()

    def test_failed_job_runs_again(self):
        @idempotent_task
        def function(self):
            work()
            if self.request.retries == 0:
                raise JobError
            return "done"

        job = celery_task(function, bind=True)
        first = deliver(job, task_id="a")
        second = deliver(job, task_id="a", retries=1)

        assert first.state == "FAILURE"
        assert second.value == "done"
        assert Effect.objects.count() == 1

    @pytest.mark.parametrize("is_async", [False, True])
    def test_retry_forgets_the_job_and_keeps_its_id(self, is_async):
        @idempotent_task
        def function(self):
            work()
            raise self.retry(countdown=10)

        @idempotent_task
        async def afunction(self):
            await awork()
            raise self.retry(countdown=10)

        job = celery_task(afunction if is_async else function, bind=True)
        delivered = deliver(job, task_id="a")

        assert delivered.state == "RETRY"
        assert [(headers["id"], headers["retries"]) for headers in sent_again()] == [("a", 1)]
        assert not Effect.objects.exists()
        assert not IdempotencyKey.objects.exists()

    def test_automatic_retry_forgets_the_job(self):
        @idempotent_task
        def function():
            work()
            raise JobError

        job = celery_task(function, autoretry_for=(JobError,), retry_kwargs={"countdown": 1})
        delivered = deliver(job, task_id="a")

        assert delivered.state == "RETRY"
        assert [headers["id"] for headers in sent_again()] == ["a"]
        assert not Effect.objects.exists()

    @pytest.mark.parametrize("result", [Decimal(1), object(), float("nan"), {(1, 2): 3}, b"x", {1, 2}])
    def test_result_that_cannot_be_stored_rolls_back(self, result):
        @idempotent_task
        def function():
            work()
            return result

        delivered = deliver(celery_task(function))

        assert isinstance(delivered.value, UsageError)
        assert "cannot be stored" in str(delivered.value)
        assert not Effect.objects.exists()
        assert not IdempotencyKey.objects.exists()

    def test_job_is_remembered_for_the_ttl(self):
        deliver(celery_task(idempotent_task(ttl=timedelta(hours=1))(work)))

        remaining = IdempotencyKey.objects.get().expires - timezone.now()
        assert timedelta(minutes=59) < remaining < timedelta(minutes=61)

    def test_job_is_remembered_as_long_as_the_settings_say(self, settings):
        settings.IDEMPOTENCY_TTL = 7200
        deliver(celery_task(idempotent_task(work)))

        remaining = IdempotencyKey.objects.get().expires - timezone.now()
        assert timedelta(minutes=119) < remaining < timedelta(minutes=121)

    @pytest.mark.django_db(databases=["default", "other"])
    def test_key_is_in_the_database_that_is_named(self):
        deliver(celery_task(idempotent_task(using="other")(work)))

        assert IdempotencyKey.objects.using("other").exists()
        assert not IdempotencyKey.objects.exists()

    @pytest.mark.engine("postgresql", "mariadb")
    @pytest.mark.django_db(transaction=True)
    def test_job_runs_again_when_the_database_gives_up(self):
        attempts = iter([give_up, lambda: None])

        @idempotent_task(reruns=1)
        def function():
            work()
            next(attempts)()

        assert deliver(celery_task(function)).state == "SUCCESS"
        assert Effect.objects.count() == 1

    @pytest.mark.engine("postgresql", "mariadb")
    @pytest.mark.django_db(transaction=True)
    def test_duplicate_waits_in_its_worker(self, gate):
        def open_behind(execute, sql, params, many, context):
            try:
                return execute(sql, params, many, context)
            finally:
                if "INSERT" in sql:
                    gate.open()

        @idempotent_task(wait=20)
        def function():
            result = work()
            pass_gate(gate.path)
            return result

        job = celery_task(function)

        def duplicate():
            gate.wait()
            with connection.execute_wrapper(open_behind):
                return deliver(job, task_id="a")

        first, second = together([lambda: deliver(job, task_id="a"), duplicate])

        assert first.state == second.state == "SUCCESS"
        assert second.value == first.value
        assert Effect.objects.count() == 1

    # What a duplicate gets

    @pytest.mark.parametrize("function", [work, awork])
    def test_duplicate_is_skipped(self, function):
        job = celery_task(idempotent_task(on_duplicate="skip")(function))

        first = deliver(job, task_id="a")
        second = deliver(job, task_id="a")

        assert first.value is not None
        assert (second.state, second.value) == ("SUCCESS", None)
        assert Effect.objects.count() == 1

    @pytest.mark.parametrize("function", [work, awork])
    def test_duplicate_raises(self, function):
        job = celery_task(idempotent_task(on_duplicate="raise")(function))

        deliver(job, task_id="a")
        second = deliver(job, task_id="a")

        assert isinstance(second.value, DuplicateTask)
        assert Effect.objects.count() == 1

    @pytest.mark.parametrize("choice", ["skip", "raise"])
    def test_result_that_nobody_asks_for_may_be_anything(self, choice):
        @idempotent_task(on_duplicate=choice)
        def function():
            work()
            return Decimal(1)

        assert deliver(celery_task(function)).value == Decimal(1)
        assert Effect.objects.count() == 1

    def test_result_that_was_not_stored_cannot_be_returned(self):
        deliver(celery_task(idempotent_task(on_duplicate="skip")(work), name="changed"), task_id="a")
        del app.tasks["changed"]

        second = deliver(celery_task(idempotent_task(work), name="changed"), task_id="a")

        assert isinstance(second.value, ResponseNotStored)
        assert Effect.objects.count() == 1

    @pytest.mark.parametrize(
        ("choice", "expected"), [("return", ResponseExpired), ("skip", type(None)), ("raise", DuplicateTask)]
    )
    def test_duplicate_of_an_expired_result_does_not_run(self, settings, choice, expected):
        settings.IDEMPOTENCY_TOMBSTONE_TTL = timedelta(hours=1)
        job = celery_task(idempotent_task(on_duplicate=choice)(work))
        deliver(job, task_id="a")
        IdempotencyKey.objects.update(expires=timezone.now())

        second = deliver(job, task_id="a")

        assert isinstance(second.value, expected)
        assert Effect.objects.count() == 1

    @pytest.mark.parametrize("choice", ["return", "skip", "raise"])
    def test_same_key_with_other_arguments_is_refused(self, choice):
        job = celery_task(idempotent_task(on_duplicate=choice)(work))

        deliver(job, "a", task_id="a")
        second = deliver(job, "b", task_id="a")

        assert isinstance(second.value, KeyReused)
        assert "other arguments" in str(second.value)
        assert Effect.objects.count() == 1

    def test_ignored_arguments_may_differ(self):
        @idempotent_task(key="{order_id}", ignored_arguments=["asked_at"])
        def function(order_id, asked_at):
            return work()

        job = celery_task(function)
        first = deliver(job, 1, asked_at="10:00")
        second = deliver(job, 1, asked_at="10:01")

        assert second.value == first.value
        assert Effect.objects.count() == 1

    def test_arguments_are_compared_by_their_meaning(self):
        @idempotent_task(key="{order_id}")
        def function(order_id, due=None, amount=None):
            return work()

        job = celery_task(function)
        first = deliver(job, 1, due=date(2026, 1, 2), amount=Decimal("1.50"))
        second = deliver(job, order_id=1, amount="1.50", due="2026-01-02")

        assert first.state == "SUCCESS"
        assert second.value == first.value
        assert Effect.objects.count() == 1

    def test_arguments_that_cannot_be_compared_are_refused(self):
        delivered = deliver(celery_task(idempotent_task(work)), object())

        assert isinstance(delivered.value, UsageError)
        assert "ignored_arguments" in str(delivered.value)
        assert not Effect.objects.exists()

    # Keys

    def test_template_tells_a_job_that_is_enqueued_twice(self):
        @idempotent_task(key="{kind}-{order_id}")
        def function(order_id, kind="sale"):
            return work()

        job = celery_task(function)
        first = deliver(job, 7)
        second = deliver(job, order_id=7)

        assert second.value == first.value
        assert IdempotencyKey.objects.get().key == "sale-7"

    def test_template_takes_parts_and_formats(self):
        @idempotent_task(key="{order[id]:>04}-{args[0]!r}-{args[1].real}")
        def function(order, *args):
            return work()

        deliver(celery_task(function), {"id": 7}, "x", 5)

        assert IdempotencyKey.objects.get().key == "0007-'x'-5"

    def test_template_of_a_bound_task(self):
        @idempotent_task(key="{order_id}")
        def function(self, order_id):
            return work()

        deliver(celery_task(function, bind=True), 7)

        assert IdempotencyKey.objects.get().key == "7"

    @pytest.mark.parametrize(
        "template",
        [
            "constant",
            "",
            "{nothing}",
            "{}",
            "{0}",
            "{order_id",
            "{order_id!x}",
            "{order_id:{width}}",
            "{self.request.id}",
        ],
    )
    def test_bad_template_fails_at_decoration(self, template):
        def function(self, order_id):
            raise AssertionError

        with pytest.raises(UsageError, match="order_id"):
            idempotent_task(key=template)(function)

    def test_template_of_a_job_without_arguments_fails_at_decoration(self):
        def function():
            raise AssertionError

        with pytest.raises(UsageError, match="it has none"):
            idempotent_task(key="{a}")(function)
        with pytest.raises(UsageError, match="leave key out"):
            idempotent_task(key="a")(function)

    @pytest.mark.parametrize("blank", [None, ""])
    def test_blank_field_of_a_template_is_refused(self, blank):
        @idempotent_task(key="order-{order_id}")
        def function(order_id=blank):
            raise AssertionError

        delivered = deliver(celery_task(function))

        assert isinstance(delivered.value, UsageError)
        assert "unlike jobs would have one key" in str(delivered.value)

    def test_template_that_does_not_fit_is_refused(self):
        @idempotent_task(key="{order[id]}")
        def function(order):
            raise AssertionError

        delivered = deliver(celery_task(function), {})

        assert isinstance(delivered.value, UsageError)
        assert "does not fit" in str(delivered.value)

    def test_callable_makes_the_key(self):
        @idempotent_task(key=lambda order_id, kind="sale": f"{kind}:{order_id}")
        def function(self, order_id, kind="sale"):
            return work()

        job = celery_task(function, bind=True)
        deliver(job, 7)
        deliver(job, order_id=7)

        assert IdempotencyKey.objects.get().key == "sale:7"
        assert Effect.objects.count() == 1

    def test_callable_that_makes_no_text_is_refused(self):
        @idempotent_task(key=lambda order_id: order_id)
        def function(order_id):
            raise AssertionError

        assert isinstance(deliver(celery_task(function), 7).value, UsageError)

    # Calls by nobody

    def test_plain_call_without_a_key_is_refused(self):
        with pytest.raises(UsageError, match="without a task's id"):
            idempotent_task(work)()
        with pytest.raises(UsageError, match="without a task's id"):
            celery_task(idempotent_task(work))()

        assert not Effect.objects.exists()

    def test_plain_call_with_a_key_is_guarded(self):
        guarded = idempotent_task(key="{label}")(work)

        assert guarded("a") == guarded(label="a")

    async def call_twice(self, guarded):
        return [await guarded("a"), await guarded("a")]

    def test_plain_call_of_a_coroutine_function_is_awaited(self):
        from asgiref.sync import async_to_sync

        first, second = async_to_sync(self.call_twice)(idempotent_task(key="{label}")(awork))

        assert first == second

    def test_task_that_another_one_calls_is_another_job(self):
        @idempotent_task(key="{label}")
        def inner(label):
            return work(label)

        @idempotent_task
        def outer(self):
            work("outer")
            return [inner_task("x"), inner("x")]

        inner_task = celery_task(inner)
        delivered = deliver(celery_task(outer, bind=True))

        assert delivered.state == "SUCCESS"
        assert sorted(Effect.objects.values_list("label", flat=True)) == ["outer", "x", "x"]

    def test_plain_call_within_a_job_does_not_take_its_id(self):
        guarded = idempotent_task(work)

        @idempotent_task
        def outer():
            with pytest.raises(UsageError, match="without a task's id"):
                guarded()
            return "done"

        assert deliver(celery_task(outer)).value == "done"
        assert not Effect.objects.exists()

    def test_works_where_celery_is_not_in_use(self, monkeypatch):
        monkeypatch.delitem(sys.modules, "celery")

        idempotent_task(key="{label}")(work)("a")

        assert "celery" not in sys.modules

    def test_needs_no_queue_to_be_imported(self):
        program = """
            import sys
            sys.modules.update({"celery": None, "kombu": None, "nats": None, "rest_framework": None})
            import django
            from django.conf import settings
            settings.configure(INSTALLED_APPS=["django_idempotency"])
            django.setup()
            import django_idempotency.tasks, django_idempotency.consumers
        """

        subprocess.run([sys.executable, "-c", dedent(program)], check=True)

    # While the first one runs

    @pytest.mark.parametrize("is_async", [False, True])
    def test_duplicate_in_flight_comes_again(self, is_async):
        deliveries = []

        @idempotent_task(key="{label}", retry_delay=60)
        def function(label):
            result = work(label)
            deliveries.append(deliver(job, label, task_id="second", retries=2))
            return result

        @idempotent_task(key="{label}", retry_delay=60)
        async def afunction(label):
            from asgiref.sync import sync_to_async

            result = await awork(label)
            deliveries.append(await sync_to_async(deliver)(job, label, task_id="second", retries=2))
            return result

        job = celery_task(afunction if is_async else function, max_retries=2)
        first = deliver(job, "a", task_id="first")
        messages = sent_again()

        assert [delivery.state for delivery in deliveries] == ["RETRY"]
        assert [(headers["id"], headers["retries"], headers["argsrepr"]) for headers in messages] == [
            ("second", 2, "('a',)")
        ]
        assert messages[0]["eta"] > (timezone.now() + timedelta(seconds=50)).isoformat()
        assert deliver(job, "a", task_id="second", retries=2).value == first.value
        assert Effect.objects.count() == 1

    def busy(self, **options):
        """Return a job that is delivered again while it runs, and the second deliveries."""
        deliveries = []

        @idempotent_task(key="{label}")
        def function(label):
            work(label)
            deliveries.append(deliver(job, label))

        job = celery_task(function, **options)
        return job, deliveries

    def test_duplicate_that_cannot_be_sent_goes_back_to_its_queue(self, monkeypatch):
        job, deliveries = self.busy(acks_late=True)
        monkeypatch.setattr(app, "send_task", unreachable)

        deliver(job, "a")

        assert [delivery.state for delivery in deliveries] == ["REJECTED"]
        assert deliveries[0].value.requeue

    def test_duplicate_that_cannot_go_back_fails(self, monkeypatch):
        job, deliveries = self.busy()
        monkeypatch.setattr(app, "send_task", unreachable)

        deliver(job, "a")

        assert isinstance(deliveries[0].value, BrokerError)

    def test_eager_duplicate_in_flight_is_refused(self):
        results = []

        @idempotent_task(key="{label}")
        def function(label):
            results.append(job.apply((label,)))
            return work(label)

        job = celery_task(function)
        deliver(job, "a")

        assert isinstance(results[0].result, RequestInProgress)
        assert sent_again() == []
        assert Effect.objects.count() == 1

    def test_called_duplicate_in_flight_is_refused(self):
        @idempotent_task(key="{label}")
        def function(label):
            with pytest.raises(RequestInProgress, match="Call it again"):
                job(label)
            return work(label)

        job = celery_task(function)

        assert deliver(job, "a").state == "SUCCESS"
        assert Effect.objects.count() == 1

    def test_refusal_of_the_jobs_own_is_its_failure(self):
        @idempotent_task
        def function():
            process_once("billing", "1", lambda: process_once("billing", "1", work))

        @idempotent_task
        async def afunction():
            raise RequestInProgress

        for job in (celery_task(function), celery_task(afunction)):
            assert isinstance(deliver(job).value, RequestInProgress)
            assert sent_again() == []

    # What is refused at decoration

    @pytest.mark.parametrize(
        "argument",
        [
            {"key": 7},
            {"ttl": 0},
            {"wait": -1},
            {"using": ""},
            {"reruns": -1},
            {"on_duplicate": "ignore"},
            {"on_duplicate": None},
            {"ignored_arguments": "label"},
            {"ignored_arguments": ["nothing"]},
            {"retry_delay": 0},
            {"retry_delay": "soon"},
        ],
    )
    def test_argument_that_cannot_be_meant_is_refused(self, argument):
        with pytest.raises(UsageError, match=next(iter(argument))):
            idempotent_task(**argument)(work)

    def test_unknown_argument_is_refused(self):
        with pytest.raises(TypeError, match="unknown"):
            idempotent_task(unknown=1)  # type: ignore[call-overload]  # refused by its types, too

    def test_above_the_decorator_of_a_queue_is_refused(self):
        finalized = celery_task(work)
        shared = shared_task(work)
        lazy = Celery("lazy", set_as_current=False).task(work)

        for wrong in (lazy, finalized, shared, print):
            with pytest.raises(TypeError, match=r"@shared_task, @app.task or @task first"):
                idempotent_task(wrong)


def unreachable(*args: Any, **kwargs: Any) -> None:
    raise BrokerError("no broker")
