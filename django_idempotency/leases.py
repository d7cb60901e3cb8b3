"""Who may go on with an operation of several steps: each of its writes shows that it still may.

Note [Every write shows its token]
A worker that was paused for longer than its lease does not know that another one goes on in its place. So each worker
that takes the operation up raises `attempt`, and each transaction of an operation begins with an UPDATE that asks for
the run and the attempt of its own. That does three things: it finds out, it locks the row until the commit, so that
nobody can take the operation up in the middle of a step, and it extends the lease. The run's id is a random one, so
that not even an operation that has begun anew under an expired key has the same token.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.db import OperationalError, connections, transaction
from django.db.models import F
from django.utils import timezone

from django_idempotency import claims, signals, store
from django_idempotency.clock import DatabaseTime
from django_idempotency.exceptions import UsageError
from django_idempotency.fingerprint import Fingerprint
from django_idempotency.models import (
    IdempotencyKey,
    IdempotentRun,
    IdempotentRunQuerySet,
    IdempotentStep,
)
from django_idempotency.store import Claim
from django_idempotency.values import Operation


@dataclass(frozen=True, slots=True, kw_only=True)
class StepRecord:
    """What is remembered of one step or call."""

    position: int
    name: str
    kind: str
    state: str
    result: str = ""
    started: datetime
    finished: datetime | None = None

    @property
    def value(self) -> Any:
        """What the step returned, read anew from its JSON."""
        return json.loads(self.result)


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """The right to go on with an operation: its token, and what earlier attempts have recorded."""

    operation: Operation
    using: str
    duration: timedelta
    run: UUID
    attempt: int
    abort: str = ""
    steps: tuple[StepRecord, ...] = ()


def take(operation: Operation, *, duration: timedelta, using: str | None = None, request: str = "") -> Lease | Claim:
    """Claim *operation*, or take it up where an attempt has left it; or return the lost claim, with what is remembered.

    The claim is committed when this returns. Until it ends, the operation does not expire.

    Raises:
        UsageError: A transaction is open: no step could commit.
    """
    alias = using or store.database()
    refuse_transaction(alias)
    now = timezone.now()
    lasting = replace(operation, ttl=_never(now) - now)
    with store.claimed(lasting, using=alias) as claim:
        if claim.won:
            return _begin(claim, operation, duration=duration, request=request)
    record = claim.record
    if record and not (record.completed or record.renewable) and operation.fingerprint.matches(record.fingerprint):
        lease = _take_over(operation, alias, duration=duration)
        if lease is not None:
            return lease
    return replace(claim, operation=operation)


def extend(lease: Lease) -> bool:
    """Let the lease last from now on, and tell whether it was there to be extended. For a thread of its own.

    It waits for nobody: a row that is locked is being written by its owner, or is taken over just now.
    """
    connection = transaction.get_connection(lease.using)
    rows = own(lease).filter(lease_until__isnull=False)
    try:
        with transaction.atomic(using=lease.using):
            if connection.features.has_select_for_update_skip_locked and not rows.select_for_update(skip_locked=True):
                return False
            return bool(rows.update(lease_until=DatabaseTime() + lease.duration))
    finally:
        connection.close()


def resume(run: UUID, *, duration: timedelta, using: str, most: int) -> tuple[Lease | None, str] | None:
    """Take up an abandoned *run* whose request was kept; return the lease, and the request.

    There is no lease on one that was taken up so many times already as is allowed at *most*. None is returned where
    another worker has it.
    """
    kept = IdempotentRun.objects.using(using).abandoned().filter(pk=run, state=IdempotentRun.State.OPEN)
    row = kept.exclude(request="").values_list("request", "resumes", "key_id").first()
    if row is None:
        return None
    request, resumes, key_id = row
    if resumes >= most:
        return None, request
    key = IdempotencyKey.objects.using(using).only("namespace", "scope", "key", "method", "path").get(pk=key_id)
    # Neither is compared: the request itself brings its own.
    nothing: dict[str, Any] = {"fingerprint": Fingerprint.of(), "ttl": duration}
    operation = Operation(
        namespace=key.namespace, scope=key.scope, key=key.key, method=key.method, path=key.path, **nothing
    )
    lease = _take_over(operation, using, duration=duration, resumes=1)
    return None if lease is None else (lease, request)


def let_go(lease: Lease, *, note: str) -> None:
    """Give back a lease that nobody has used."""
    own(lease).filter(lease_until__isnull=False).update(lease_until=None, note=note[:255])


def fail(run: UUID, *, using: str) -> None:
    """Leave an abandoned *run* to its client, or to a person."""
    IdempotentRun.objects.using(using).abandoned().filter(pk=run).update(state=IdempotentRun.State.FAILED)


def own(lease: Lease) -> IdempotentRunQuerySet:
    """Select the run of *lease*, if it is still this attempt's. See Note [Every write shows its token]."""
    return IdempotentRun.objects.using(lease.using).unfinished().filter(pk=lease.run, attempt=lease.attempt)


def refuse_transaction(alias: str | None = None) -> None:
    """Refuse to go on in an open transaction on *alias*, or, if it is None, on any database.

    The transaction that Django's TestCase puts around a test is let pass.

    Raises:
        UsageError: One is open.
    """
    open_ones = [
        connection.alias
        for connection in connections.all(initialized_only=True)
        if alias in {None, connection.alias}
        and connection.in_atomic_block
        and not getattr(connection.atomic_blocks[-1], "_from_testcase", False)  # As Django's own durable=True does.
    ]
    if open_ones:
        raise UsageError(
            f"A transaction is open on {open_ones[0]!r}, in which no step could commit, and no call to another system "
            "can be made. Leave atomic() before; under ATOMIC_REQUESTS, write @transaction.non_atomic_requests above "
            "the view; make no call within a step."
        )


# A date that each database can hold, in each time zone.
def _never(now: datetime) -> datetime:
    return now.replace(year=9999, month=1, day=1)


def _begin(claim: Claim, operation: Operation, *, duration: timedelta, request: str) -> Lease:
    runs = IdempotentRun.objects.using(claim.using)
    # Of an operation before, under the same key: it has expired, or a person has let it.
    runs.filter(key_id=operation.digest).delete()
    run = runs.create(
        key_id=operation.digest, lease_until=DatabaseTime() + duration, request=request, started=timezone.now()
    )
    if claim.renewed:
        transaction.on_commit(lambda: signals.expired.report(operation), using=claim.using, robust=True)
    return Lease(operation=operation, using=claim.using, duration=duration, run=run.pk, attempt=run.attempt)


def _take_over(operation: Operation, alias: str, *, duration: timedelta, resumes: int = 0) -> Lease | None:
    features = transaction.get_connection(alias).features
    runs = IdempotentRun.objects.using(alias).filter(key_id=operation.digest)
    try:
        with transaction.atomic(using=alias, durable=True):
            if features.has_select_for_update_skip_locked and not runs.select_for_update(skip_locked=True):
                return None
            taken = runs.abandoned().update(
                attempt=F("attempt") + 1,
                lease_until=DatabaseTime() + duration,
                state=IdempotentRun.State.OPEN,
                resumes=F("resumes") + resumes,
            )
            if not taken:
                return None
            run = runs.get()
            steps = tuple(_record_of(step) for step in run.steps.order_by("position"))
    except OperationalError as error:
        if claims.is_rolled_back(error) or claims.is_lock_refused(error):
            return None
        raise
    return Lease(
        operation=operation,
        using=alias,
        duration=duration,
        run=run.pk,
        attempt=run.attempt,
        abort=run.abort,
        steps=steps,
    )


def _record_of(step: IdempotentStep) -> StepRecord:
    return StepRecord(
        position=step.position,
        name=step.name,
        kind=step.kind,
        state=step.state,
        result=step.result,
        started=step.started,
        finished=step.finished,
    )
