"""Who delivers a job, and how a duplicate that came too early is made to come again."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from hashlib import sha256
from inspect import unwrap
from typing import Any, ClassVar, Final, NoReturn

from django.utils import timezone

from django_idempotency.exceptions import RequestInProgress, UsageError
from django_idempotency.values import NAMESPACE_MAX_LENGTH

# How a duplicate keeps its key when Django can only enqueue it anew, under another id.
KEY_ARGUMENT: Final = "__idempotency_key__"

_IN_PROGRESS: Final = "A job with this idempotency key is still running; this one did not run. {}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """A plain call, by no queue that is known here: it has no id, and nobody would deliver it again.

    `name` is the task's. `owner` is what the queue passes before the job's own arguments (`self`, `context`).
    """

    is_synchronous: ClassVar[bool] = False

    name: str
    owner: object = None

    def require_id(self) -> str:
        """Return the task's id.

        Raises:
            UsageError: There is none.
        """
        raise UsageError(
            f"{self.name} was called without a task's id, so that it has no idempotency key. Give the decorator a key. "
            f"Or let a queue call it: under Celery by .delay(), .apply_async() or .apply(); under django.tasks as "
            f"@task(takes_context=True), which tells the id."
        )

    def come_again(self, key: str, delay: float) -> NoReturn:
        """Have the job delivered again in *delay* seconds, with the same *key*, if that can be; end this delivery."""
        raise RequestInProgress(_IN_PROGRESS.format("Call it again later."))

    @contextmanager
    def on_this_thread(self) -> Iterator[None]:
        """Let the job find, on the event loop's thread, what the queue left for it on the worker's."""
        yield


@dataclass(frozen=True, slots=True, kw_only=True)
class CeleryDelivery(Delivery):
    """A worker of Celery's runs its task, or `.apply()` does (eagerly)."""

    is_synchronous: ClassVar[bool] = True

    task: Any
    request: Any

    def require_id(self) -> str:
        """Return the task's id, which Celery keeps when it delivers or retries the task again."""
        return str(self.request.id)

    # Note [A duplicate is not a failed attempt]
    # task.retry() counts attempts, and gives up after max_retries: a duplicate that waits for a long first run would
    # end as failed, and if that run then died, nobody was left to do the job. So the message is sent again as
    # it is, with the attempts that it had. It is sent before this delivery ends, and is acknowledged then.
    def come_again(self, key: str, delay: float) -> NoReturn:
        """Send the message again, to be delivered in *delay* seconds, however often; raise Celery's Retry.

        If it cannot be sent, and is acknowledged late, it goes back to its queue.
        """
        from celery.exceptions import Reject, Retry  # noqa: PLC0415 - an extra; here it is in use

        reason = RequestInProgress(_IN_PROGRESS.format(f"It comes again in {delay} s."))
        if self.request.is_eager:
            raise reason
        again = self.task.signature_from_request(self.request, countdown=delay, eta=None, retries=self.request.retries)
        try:
            again.apply_async()
        except Exception as error:
            if self.task.acks_late:
                raise Reject(error, requeue=True) from error
            raise
        raise Retry(exc=reason, when=delay, sig=again)  # type: ignore[arg-type]  # typeshed: a float is no Real

    @contextmanager
    def on_this_thread(self) -> Iterator[None]:
        """Let `self.request` and `self.retry()` work in a coroutine, too."""
        self.task.request_stack.push(self.request)
        try:
            yield
        finally:
            self.task.request_stack.pop()


@dataclass(frozen=True, slots=True, kw_only=True)
class DjangoDelivery(Delivery):
    """A worker of django.tasks runs its task, and has passed the context."""

    context: Any

    def require_id(self) -> str:
        """Return the task's id."""
        return str(self.context.task_result.id)

    # Note [Django cannot retry]
    # It has no word for "again": a task that ends has succeeded or failed. A duplicate that came too early has no
    # result to succeed with, so it fails; but where the backend can defer, the same job is enqueued before, to run
    # later under an id of its own, with this one's key.
    def come_again(self, key: str, delay: float) -> NoReturn:
        """Enqueue the job again, to run in *delay* seconds, if the backend can defer; raise RequestInProgress."""
        result = self.context.task_result
        if not result.task.get_backend().supports_defer:
            raise RequestInProgress(_IN_PROGRESS.format("Its backend cannot run it later: enqueue it again."))
        later = result.task.using(run_after=timezone.now() + timedelta(seconds=delay))
        again = later.enqueue(*result.args, **{**result.kwargs, KEY_ARGUMENT: key})
        raise RequestInProgress(_IN_PROGRESS.format(f"It comes again in {delay} s, as {again.id}."))


def delivery_of(guarded: Callable[..., Any], args: tuple[Any, ...]) -> Delivery:
    """Tell who calls *guarded* with *args*."""
    first = args[0] if args else None
    task = _current_celery_task()
    if task is not None and unwrap(task.run) is unwrap(guarded):
        return _celery_delivery(task, owner=task if first is task else None)
    name = _shortened(f"{guarded.__module__}.{guarded.__qualname__}")
    if hasattr(first, "task_result"):
        return DjangoDelivery(name=name, owner=first, context=first)
    return Delivery(name=name)


def _celery_delivery(task: Any, *, owner: object) -> Delivery:
    name = _shortened(task.name)
    # A task that calls itself, as a function, finds a copy of its own request.
    calls_itself = any(outer.id == task.request.id for outer in task.request_stack.stack[:-1])
    if task.request.called_directly or calls_itself:
        return Delivery(name=name, owner=owner)
    return CeleryDelivery(name=name, owner=owner, task=task, request=task.request)


def _shortened(name: str) -> str:
    """Return *name*, or what stands for one that is too long for a namespace."""
    if len(name) <= NAMESPACE_MAX_LENGTH:
        return name
    digest = sha256(name.encode()).hexdigest()[:32]
    return f"{name[: NAMESPACE_MAX_LENGTH - len(digest) - 1]}-{digest}"


def _current_celery_task() -> Any:
    if "celery" not in sys.modules:
        return None
    from celery import current_task  # noqa: PLC0415 - an extra; here it is in use

    return current_task._get_current_object()  # type: ignore[attr-defined]  # a proxy, if its stub says otherwise
