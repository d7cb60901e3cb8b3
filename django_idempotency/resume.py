"""Operations of several steps that nobody is at: taken up again by the requests that were kept."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

from django_idempotency import leases, store
from django_idempotency.conf import settings
from django_idempotency.exceptions import UsageError
from django_idempotency.kept import send
from django_idempotency.models import IdempotentRun
from django_idempotency.requirements import Requirement

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
    """Abandoned operations without a kept request: their clients, queues or brokers have to send them again."""


def resume(
    *,
    using: str | None = None,
    max_attempts: int = 5,
    max_operations: int | None = None,
    should_stop: Callable[[], bool] | None = None,
) -> Resumed:
    """Take up each abandoned operation whose request was kept, once, and tell what came of them.

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
    lease, request = taken
    if lease is not None:
        try:
            note = f"Taken up by the command, and answered with {send(request, lease)}."
        except UsageError as error:
            note = f"UsageError: {error}"
        leases.let_go(lease, note=note)
    left = IdempotentRun.objects.using(alias).filter(pk=run).first()
    outcome = _outcome(left, max_attempts)
    if outcome == "failed":
        leases.fail(run, using=alias)
    logger.info("event=resumed run=%s outcome=%s", run, outcome)
    return outcome


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
        "left to their clients": resumed.unkept,
    }
    return ", ".join(f"{number} {words}" for words, number in parts.items())
