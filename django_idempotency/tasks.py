"""The door for background jobs: Celery's tasks, and those of django.tasks."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import wraps
from inspect import BoundArguments, signature
from types import FunctionType
from typing import Any, Final, Literal, ParamSpec, TypeVar, get_args, overload

from asgiref.sync import async_to_sync, iscoroutinefunction, markcoroutinefunction

from django_idempotency.arguments import (
    check_template,
    fill_template,
    fingerprint_of,
    without_operation,
    without_owner,
)
from django_idempotency.conf import as_timedelta, settings
from django_idempotency.deliveries import KEY_ARGUMENT, Delivery, delivery_of
from django_idempotency.exceptions import IdempotencyError, KeyReused, RequestInProgress, UsageError
from django_idempotency.execution import aexecute, execute
from django_idempotency.kept_calls import KeptCall, keep_call
from django_idempotency.leases import Lease
from django_idempotency.phases import Overtaken
from django_idempotency.requirements import REQUIREMENTS, Requirement
from django_idempotency.results import JsonResult, NoResult
from django_idempotency.steps import SteppedOperation
from django_idempotency.stepwise import execute_in_steps
from django_idempotency.threads import on_thread
from django_idempotency.values import Operation, Outcome

P = ParamSpec("P")
R = TypeVar("R")
Key = str | Callable[..., str]
OnDuplicate = Literal["return", "skip", "raise"]

SCOPE: Final = "task"


class DuplicateTask(IdempotencyError):
    """The task has run before with this idempotency key."""

    code = "idempotency_duplicate_task"
    status = 409


@overload
def idempotent_task(function: Callable[P, R], /) -> Callable[P, R]: ...


@overload
def idempotent_task(
    *,
    key: Key | None = None,
    ttl: timedelta | float | None = None,
    on_duplicate: OnDuplicate = "return",
    ignored_arguments: Collection[str] = (),
    retry_delay: float = 5.0,
    wait: float = 0.0,
    using: str | None = None,
    reruns: int = 0,
    steps: Literal[False] = False,
) -> Callable[[Callable[P, R]], Callable[P, R]]: ...


@overload
def idempotent_task(
    *,
    key: Key | None = None,
    ttl: timedelta | float | None = None,
    on_duplicate: OnDuplicate = "return",
    ignored_arguments: Collection[str] = (),
    retry_delay: float = 5.0,
    wait: float = 0.0,
    using: str | None = None,
    reruns: int = 0,
    steps: Literal[True],
    lease: timedelta | float | None = None,
    keep_arguments: bool = False,
) -> Callable[[Callable[..., R]], Callable[..., R]]: ...  # It is called without its operation.


def idempotent_task(function: Callable[..., Any] | None = None, /, **arguments: Any) -> Any:
    """Run a job once per key, however often its queue delivers it: a function, or a coroutine function.

    What the job writes to the database *using*, its key and its result are committed together. When it raises
    (Celery's Retry, Ignore and Reject, too), or its worker dies, the job is forgotten, and its writes are rolled back.

    - key: None for the task's id, which tells a job that is delivered again; to tell one that is enqueued again, a
      template on the arguments ("invoice-{invoice_id}"), or a callable that takes them.
    - ttl: how long to remember, a timedelta or seconds; None asks the settings.
    - on_duplicate: "return" the stored result, which must be JSON; "skip" and return None; or "raise" DuplicateTask.
      The latter two store no result.
    - ignored_arguments: the names of arguments that may differ between duplicates.
    - retry_delay: seconds until a duplicate comes again that came while the first was running.
    - wait: seconds that it waits in its worker before that.
    - reruns: how often to run again when the database gives up the transaction.
    - steps: instead of one transaction, the function gets an `operation` (`django_idempotency.steps`) as a keyword
      argument, whose steps commit one by one. When the job raises or dies, the next delivery goes on from there.
    - lease: how long others wait for a worker that has died, a timedelta or seconds; None asks the settings.
    - keep_arguments: keep them in the database until the job has ended, so that `resume_idempotent_operations` can go
      on with it when its queue does not deliver it again.

    Write it below `@shared_task`, `@app.task` or `@task`. Django tells a job its id by its context alone, so
    that without a `key` it must be `@task(takes_context=True)`.

    Raises:
        TypeError: At decoration, when it is not next to the function.
        UsageError: At decoration, where an argument cannot be meant; from the job, when it has no key, its arguments
            cannot be kept, or its result cannot be stored: its writes are rolled back.
        KeyReused: From the job, when the key belongs to one with other arguments; it did not run.
    """
    options = _Options(**arguments)
    if function is None:
        return lambda function: _guarded(function, options)
    return _guarded(function, options)


def _guarded(function: Callable[..., Any], options: _Options) -> Callable[..., Any]:
    # Looked at by its type alone: Celery makes some tasks at the first look at them, for which it may be too early.
    if not issubclass(type(function), FunctionType):
        raise TypeError(
            "@idempotent_task takes a plain function, and guards nothing above a queue's decorator. Write "
            "@shared_task, @app.task or @task first, and @idempotent_task below it, next to the function."
        )
    job = _Job(function, options)

    @wraps(function)
    def guarded(*args: Any, **kwargs: Any) -> Any:
        return job.run(delivery_of(guarded, args), args, kwargs)

    @wraps(function)
    def aguarded(*args: Any, **kwargs: Any) -> Any:
        delivery = delivery_of(aguarded, args)
        run: Callable[..., Any] = async_to_sync(job.arun) if delivery.is_synchronous else job.arun
        return run(delivery, args, kwargs)

    task = markcoroutinefunction(aguarded) if iscoroutinefunction(function) else guarded
    # Celery checks by it what a job is enqueued with; it follows no `__wrapped__`.
    task.__signature__ = job.signature  # type: ignore[attr-defined]  # read by inspect
    task.idempotent_job = job  # type: ignore[attr-defined]  # read by who resumes it
    return task


@dataclass(frozen=True, slots=True, kw_only=True)
class _Options:
    key: Key | None = None
    ttl: timedelta | float | None = None
    on_duplicate: OnDuplicate = "return"
    ignored_arguments: Collection[str] = ()
    retry_delay: float = 5.0
    wait: float = 0.0
    using: str | None = None
    reruns: int = 0
    steps: bool = False
    lease: timedelta | float | None = None
    keep_arguments: bool = False

    def __post_init__(self) -> None:
        for name, requirement in _REQUIREMENTS.items():
            value = getattr(self, name)
            if not (requirement.accepts(value) or (value is None and name in _OPTIONAL)):
                raise UsageError(f"{name} must be {requirement.words}, not {value!r}.")
        if self.lease is not None and not self.steps:
            raise UsageError("lease is for operations of several steps. Leave it out, or add steps=True.")
        if self.keep_arguments and not self.steps:
            raise UsageError("keep_arguments is for operations of several steps. Leave it out, or add steps=True.")


_OPTIONAL: Final = frozenset({"key", "ttl", "using", "lease"})
_REQUIREMENTS: Final = {
    **{name: REQUIREMENTS[name] for name in ("ttl", "wait", "using", "reruns", "steps", "lease", "keep_arguments")},
    "key": Requirement(
        lambda value: isinstance(value, str) or callable(value), "a template, or a callable that takes the arguments"
    ),
    "on_duplicate": Requirement(lambda value: value in get_args(OnDuplicate), '"return", "skip" or "raise"'),
    "ignored_arguments": REQUIREMENTS["ignored_fields"],
    "retry_delay": Requirement(
        lambda value: isinstance(value, int | float) and 0 < value <= 86400,
        "a number of seconds, above 0 and up to a day",
    ),
}


class _Job:
    """A guarded function."""

    def __init__(self, function: Callable[..., Any], options: _Options) -> None:
        self.function, self.options = function, options
        self.signature = without_operation(function) if options.steps else signature(function)
        if unknown := set(options.ignored_arguments) - set(self.signature.parameters):
            raise UsageError(f"ignored_arguments has {unknown}, which {function.__name__} does not take.")
        if isinstance(options.key, str):
            check_template(options.key, self.signature)
        self.manner: dict[str, Any] = {
            "codec": JsonResult() if options.on_duplicate == "return" else NoResult(),
            "wait": options.wait,
            "using": options.using,
            "reruns": options.reruns,
        }

    def run(self, delivery: Delivery, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        operation = self._operation(delivery, args, kwargs)
        call = _Call(self.function, args, kwargs)
        try:
            if self.options.steps:
                kept = self._keep(delivery, args, kwargs) if self.options.keep_arguments else ""
                outcome = execute_in_steps(
                    operation, call.run_in_steps, lease=self._lease(), request=kept, **self.manner
                )
            else:
                outcome = execute(operation, call.run, **self.manner)
        except IdempotencyError as error:
            return self._end_refused(error, call, operation, delivery)
        return self._end(outcome)

    async def arun(self, delivery: Delivery, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        operation = self._operation(delivery, args, kwargs)
        call = _Call(self.function, args, kwargs)
        try:
            with delivery.on_this_thread():
                outcome = await aexecute(operation, call.arun, **self.manner)
        except IdempotencyError as error:
            refusal = error
        else:
            return self._end(outcome)
        return await on_thread(lambda: self._end_refused(refusal, call, operation, delivery))

    def resume(self, kept: KeptCall, lease: Lease) -> None:
        """Run it again as it was kept, in this process and without its queue, with the *lease* on its operation.

        Raises:
            UsageError: It does not take steps any more.
            Exception: What the job raises.
        """
        if not self.options.steps:
            raise UsageError(f"{self.function.__qualname__} takes no steps any more. Let it, or let the key expire.")
        call = _Call(self.function, tuple(kept.args), dict(kept.kwargs))
        operation = replace(lease.operation, ttl=self._ttl())
        execute_in_steps(operation, call.run_in_steps, lease=self._lease(), taken=lease, **self.manner)

    def _keep(self, delivery: Delivery, args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
        if delivery.owner is not None:
            raise UsageError(
                f"keep_arguments keeps jobs that take neither self nor context, and {delivery.name} does: there is "
                "none when the job is resumed. Leave out bind=True, or takes_context=True, and give it a key."
            )
        return keep_call(KeptCall(function=self.function, args=args, kwargs=kwargs), door="job")

    def _operation(self, delivery: Delivery, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Operation:
        key = kwargs.pop(KEY_ARGUMENT, None)
        parameters = self.signature
        if delivery.owner is not None:
            parameters, args = without_owner(parameters), args[1:]
        bound = parameters.bind(*args, **kwargs)
        # Before the defaults: a parameter that the next release adds must not make another job of this one.
        fingerprint = fingerprint_of(bound.arguments, ignored=self.options.ignored_arguments)
        bound.apply_defaults()
        return Operation(
            namespace=delivery.name,
            scope=SCOPE,
            key=key or self._key(delivery, bound),
            fingerprint=fingerprint,
            ttl=self._ttl(),
        )

    def _ttl(self) -> timedelta:
        return settings.ttl if self.options.ttl is None else as_timedelta(self.options.ttl)

    def _lease(self) -> timedelta:
        return settings.lease if self.options.lease is None else as_timedelta(self.options.lease)

    def _key(self, delivery: Delivery, bound: BoundArguments) -> str:
        if self.options.key is None:
            return delivery.require_id()
        if isinstance(self.options.key, str):
            return fill_template(self.options.key, bound.arguments)
        return self.options.key(*bound.args, **bound.kwargs)

    def _end(self, outcome: Outcome[Any]) -> Any:
        if outcome.replayed and self.options.on_duplicate != "return":
            return self._end_duplicate()
        return outcome.value

    def _end_refused(self, error: IdempotencyError, call: _Call, operation: Operation, delivery: Delivery) -> Any:
        if error is call.refusal and not isinstance(error, Overtaken):
            raise error
        if isinstance(error, RequestInProgress):
            delivery.come_again(operation.key, self.options.retry_delay)
        if isinstance(error, KeyReused):
            raise KeyReused(
                f"{delivery.name} has run with the key {operation.key!r} and other arguments. Use another key for "
                f"another job, or name in ignored_arguments what may differ."
            ) from error
        if self.options.on_duplicate == "return":
            raise error
        return self._end_duplicate()  # It has run, and the result that nobody asks for is not stored any more.

    def _end_duplicate(self) -> None:
        if self.options.on_duplicate == "raise":
            raise DuplicateTask(f"{self.function.__name__} has run with this key before, and did not run again.")


class _Call:
    """One call of the function, which remembers a refusal that is the function's own."""

    def __init__(self, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self.function, self.args, self.kwargs = function, args, kwargs
        self.refusal: IdempotencyError | None = None

    def run(self) -> Any:
        try:
            return self.function(*self.args, **self.kwargs)
        except IdempotencyError as error:
            self.refusal = error
            raise

    def run_in_steps(self, stepped: SteppedOperation) -> Any:
        self.kwargs = {**self.kwargs, "operation": stepped}
        return self.run()

    async def arun(self) -> Any:
        try:
            return await self.function(*self.args, **self.kwargs)
        except IdempotencyError as error:
            self.refusal = error
            raise
