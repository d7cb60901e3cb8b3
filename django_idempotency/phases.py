"""The transactions of an operation of several steps: each commits if, and only if, its lease is still the last one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.db import transaction
from django.utils import timezone

from django_idempotency import claims, signals
from django_idempotency.clock import DatabaseTime
from django_idempotency.exceptions import RequestInProgress, UsageError
from django_idempotency.leases import Lease, StepRecord, own
from django_idempotency.models import IdempotencyKey, IdempotencyKeyQuerySet, IdempotentRun, IdempotentStep
from django_idempotency.values import StoredResponse


class Overtaken(RequestInProgress):
    """The first request with this idempotency key is still in progress."""

    def __init__(self) -> None:
        super().__init__(
            "This attempt was paused for longer than its lease, and another one goes on with the operation. Send the "
            "same request again after the time in Retry-After."
        )


@contextmanager
def phase(lease: Lease) -> Iterator[None]:
    """Hold a transaction that commits what the block writes if, and only if, this lease is still the last one.

    Raises:
        Overtaken: Another attempt has taken the operation up; nothing is written.
    """
    with transaction.atomic(using=lease.using, durable=True):
        if not own(lease).update(lease_until=DatabaseTime() + lease.duration):
            raise Overtaken
        yield


def add(lease: Lease, step: StepRecord) -> None:
    """Record *step*, which is new; call it in a phase.

    Raises:
        UsageError: The phase is to be rolled back.
    """
    _refuse_rollback(lease)
    IdempotentStep.objects.using(lease.using).create(
        run_id=lease.run,
        position=step.position,
        name=step.name,
        kind=step.kind,
        state=step.state,
        result=step.result,
        attempt=lease.attempt,
        started=step.started,
        finished=step.finished,
    )


def change(lease: Lease, step: StepRecord) -> None:
    """Record what has become of *step*; call it in a phase.

    Raises:
        UsageError: The phase is to be rolled back.
    """
    _refuse_rollback(lease)
    IdempotentStep.objects.using(lease.using).filter(run_id=lease.run, position=step.position).update(
        state=step.state, result=step.result, attempt=lease.attempt, started=step.started, finished=step.finished
    )


def end(lease: Lease, response: StoredResponse, *, seconds: float) -> None:
    """Remember the operation as completed, with its *response*: from now on it is replayed, until it expires."""
    with phase(lease):
        _complete(lease, status=response.status, headers=list(response.headers), body=response.body)
        transaction.on_commit(
            lambda: signals.executed.report(lease.operation, seconds=seconds), using=lease.using, robust=True
        )


def begin_abort(lease: Lease, response: StoredResponse | None) -> None:
    """Remember that the operation is to be undone, and what it is answered then; None to forget it then."""
    with phase(lease):
        kind = IdempotentRun.Abort.FORGOTTEN if response is None else IdempotentRun.Abort.STORED
        own(lease).update(abort=kind)
        if response is not None:
            _hold_key(lease)
            _key(lease).update(status=response.status, headers=list(response.headers), body=response.body)


def end_abort(lease: Lease, *, stored: bool, seconds: float) -> StoredResponse | None:
    """Remember the undone operation as completed, with the response that is *stored*, and return that; or forget it."""
    with phase(lease):
        if not stored:
            _forget(lease)
            return None
        status, headers, body = _key(lease).values_list("status", "headers", "body").get()
        _complete(lease)
        transaction.on_commit(
            lambda: signals.executed.report(lease.operation, seconds=seconds), using=lease.using, robust=True
        )
    return StoredResponse(
        status=status, headers=[(name, value) for name, value in headers], body=None if body is None else bytes(body)
    )


def release(lease: Lease, *, note: str, uncertain: bool = False) -> None:
    """Give the lease back, so that a retry can go on at once; forget an operation of which nothing is recorded."""
    state = IdempotentRun.State.UNCERTAIN if uncertain else IdempotentRun.State.OPEN
    with transaction.atomic(using=lease.using, durable=True):
        if not own(lease).update(lease_until=None, state=state, note=note[:255]):
            return
        if not IdempotentStep.objects.using(lease.using).filter(run_id=lease.run).exists():
            _forget(lease)


def _refuse_rollback(lease: Lease) -> None:
    if transaction.get_connection(lease.using).needs_rollback:
        raise UsageError(
            "A step marked its transaction for rollback, and returned: it is neither done nor failed. Let it raise "
            "what it failed with, or raise Abort."
        )


def _complete(lease: Lease, **response: Any) -> None:
    now = timezone.now()
    _hold_key(lease)
    if not _key(lease).update(completed=now, expires=now + lease.operation.ttl, **response):
        raise UsageError(
            "The operation's idempotency key was deleted, so that its answer could not be remembered. Delete only "
            "expired keys."
        )
    own(lease).update(state=IdempotentRun.State.ENDED, ended=now, lease_until=None, request="", note="")


def _forget(lease: Lease) -> None:
    IdempotentStep.objects.using(lease.using).filter(run_id=lease.run).delete()
    own(lease).delete()
    _hold_key(lease)
    _key(lease).delete()


def _hold_key(lease: Lease) -> None:
    claims.hold(transaction.get_connection(lease.using), lease.operation)


def _key(lease: Lease) -> IdempotencyKeyQuerySet:
    return IdempotencyKey.objects.using(lease.using).filter(pk=lease.operation.digest, completed__isnull=True)
