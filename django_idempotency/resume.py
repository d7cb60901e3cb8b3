"""Operations of several steps that nobody is at: taken up again by the requests and the calls that were kept."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Final
from uuid import UUID

from django_idempotency import leases, store
from django_idempotency.conf import as_timedelta, settings
from django_idempotency.exceptions import IdempotencyError, UsageError
from django_idempotency.kept import send
from django_idempotency.kept_calls import KeptCall, is_kept_call, load_call
from django_idempotency.leases import Lease
from django_idempotency.models import IdempotentRun
from django_idempotency.requirements import Requirement
from django_idempotency.results import NoResult
from django_idempotency.stepwise import execute_in_steps

logger: Final = logging.getLogger("django_idempotency")

_COUNT: Final = Requirement(
    lambda value: isinstance(value, int) and not isinstance(value, bool) and value >= 1, "a whole number, 1 or more"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Resumed:
    """What came of the operations that were taken up, and what is left to others."""

    ended: int = 0
    """Operations that have ended, or of which nothing was recorded, so that they are forgotten."""
    unfinished: int = 0
    """Operations that may be taken up again."""
    uncertain: int = 0
    """Operations with a call that is held: a person has to say whether it has happened."""
    failed: int = 0
    """Operations that were taken up too often: a person has to look at them."""
    unkept: int = 0
    """Abandoned operations of which nothing is kept: their clients, queues or brokers have to send them again."""


def resume(
    *,
    using: str | None = None,
    max_attempts: int = 5,
    max_operations: int | None = None,
    should_stop: Callable[[], bool] | None = None,
) -> Resumed:
    """Take up each abandoned operation whose request or call was kept, once, and tell what came of them.

    A request is sent to its view again; a job or a message's handler is called in this process.

    An operation is taken up *max_attempts* times at most; after that it is failed, until its client or a person goes on
    with it. Several of these may run at once: each skips what another has.

    Raises:
        UsageError: An argument cannot be meant.
        RuntimeError: A transaction is open.
    """
    for name, value in {"max_attempts": max_attempts, "max_operations": max_operations}.items():
        if value is not None and not _COUNT.accepts(value):
            raise UsageError(f"{name} must be {_COUNT.words}, not {value!r}.")
    alias = using or store.database()
    runs = IdempotentRun.objects.using(alias).abandoned()
    kept = runs.filter(state=IdempotentRun.State.OPEN).exclude(request="")
    counts = dict.fromkeys(("ended", "unfinished", "uncertain", "failed"), 0)
    for run in list(kept.order_by("started").values_list("pk", flat=True)[:max_operations]):
        if should_stop is not None and should_stop():
            break
        outcome = _resume(run, alias, max_attempts)
        if outcome is not None:
            counts[outcome] += 1
    unkept = runs.filter(state=IdempotentRun.State.OPEN, request="")
    return Resumed(**counts, unkept=unkept.count())


def _resume(run: UUID, alias: str, max_attempts: int) -> str | None:
    """Take one operation up, if nobody else has meanwhile."""
    taken = leases.resume(run, duration=settings.lease, using=alias, most=max_attempts)
    if taken is None:
        return None
    lease, kept = taken
    if lease is not None:
        leases.let_go(lease, note=_go_on(kept, lease))
    left = IdempotentRun.objects.using(alias).filter(pk=run).first()
    outcome = _outcome(left, max_attempts)
    if outcome == "failed":
        leases.fail(run, using=alias)
    logger.info("event=resumed run=%s outcome=%s", run, outcome)
    return outcome


def _go_on(kept: str, lease: Lease) -> str:
    """Run the handler again; return what there is to be noted of it, where it has not taken the lease itself."""
    try:
        if is_kept_call(kept):
            return _call_again(load_call(kept), lease)
        return f"Taken up by the command, and answered with {send(kept, lease)}."
    except UsageError as error:
        logger.warning("event=resume_refused run=%s error=%s", lease.run, error)
        return f"UsageError: {error}"


def _call_again(call: KeptCall, lease: Lease) -> str:
    try:
        if call.options["door"] == "job":
            _job_of(call).resume(call, lease)
        else:
            _process(call, lease)
    except UsageError:
        raise
    except IdempotencyError as error:
        return type(error).__name__
    except Exception as error:
        # As Django does with a view's. The next operation is still to be taken up.
        logger.exception("event=resume_failed run=%s", lease.run)
        return type(error).__name__
    return "Taken up by the command."


def _job_of(call: KeptCall) -> Any:
    job = getattr(call.function, "idempotent_job", None)
    if job is None:
        raise UsageError(
            f"{call.function.__qualname__} is no idempotent_task any more. Make it one, or let the key expire in the "
            "admin."
        )
    return job


def _process(call: KeptCall, lease: Lease) -> None:
    """Have a message's handler go on, as `process_once` does."""
    ttl, duration, reruns = (call.options[name] for name in ("ttl", "lease", "reruns"))
    execute_in_steps(
        replace(lease.operation, ttl=settings.ttl if ttl is None else as_timedelta(ttl)),
        lambda stepped: call.function(*call.args, **call.kwargs, operation=stepped),
        codec=NoResult(),
        lease=settings.lease if duration is None else as_timedelta(duration),
        reruns=reruns,
        taken=lease,
    )


def _outcome(run: IdempotentRun | None, max_attempts: int) -> str:
    if run is None or run.state == IdempotentRun.State.ENDED:
        return "ended"
    if run.state == IdempotentRun.State.UNCERTAIN:
        return "uncertain"
    return "failed" if run.resumes >= max_attempts else "unfinished"


def as_sentence(resumed: Resumed) -> str:
    """Say it in words."""
    parts: dict[str, Any] = {
        "ended": resumed.ended,
        "unfinished": resumed.unfinished,
        "uncertain": resumed.uncertain,
        "failed": resumed.failed,
        "left to who sent them": resumed.unkept,
    }
    return ", ".join(f"{number} {words}" for words, number in parts.items())
