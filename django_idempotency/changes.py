"""What the purge and people change of keys that are there: each function is named for what it promises."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Final
from uuid import UUID

from django.db import OperationalError, transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import Exists, F, OuterRef
from django.utils import timezone

from django_idempotency import batches, signals
from django_idempotency.conf import settings
from django_idempotency.models import IdempotencyKey, IdempotencyKeyQuerySet, IdempotentRun, IdempotentStep
from django_idempotency.store import database, is_rerunnable

# How often one batch is tried when the database takes its transaction back.
_BATCH_ATTEMPTS: Final = 4


def delete_expired(ids: Sequence[UUID], *, by: datetime, using: str) -> int:
    """Delete these keys, but for those that did not expire *by* then or that another transaction holds.

    In a transaction of its own, which waits for nobody. Returns how many went.

    Raises:
        RuntimeError: A transaction of the caller's is open.
    """
    deleted = _change(_delete, IdempotencyKey.objects.using(using).expired(by), ids)
    if deleted:
        signals.purged.report(None, count=deleted)
    return deleted


def erase_expired(ids: Sequence[UUID], *, by: datetime, using: str) -> int:
    """Take the stored responses from these keys, and keep the keys; with the exceptions of `delete_expired`."""
    return _change(_erase, IdempotencyKey.objects.using(using).expired(by).filter(batches.HAS_RESPONSE), ids)


def max_batch_size(*, using: str) -> int:
    """Return how many keys one statement can name; some more parameters have room."""
    max_params = transaction.get_connection(using).features.max_query_params
    return sys.maxsize if max_params is None else max_params - 10


@contextmanager
def forgotten(ids: Sequence[UUID]) -> Iterator[list[IdempotencyKey]]:
    """Let these keys expire together with what the block writes, or not at all: their requests may run again.

    Yield the keys, locked; left out are those that have expired before, and those that another transaction holds. An
    operation of several steps ends here: nobody who is at it can write any more.
    """
    now = timezone.now()
    end = now - settings.tombstone_ttl
    with _changed(IdempotencyKey.objects.using(database()).unexpired(end), ids, expires=end) as keys:
        for key in keys:
            runs = IdempotentRun.objects.using(database()).unfinished().filter(key_id=key.pk)
            runs.update(
                state=IdempotentRun.State.ENDED, ended=now, lease_until=None, request="", note="Expired by hand."
            )
        yield keys


@contextmanager
def erased(ids: Sequence[UUID]) -> Iterator[list[IdempotencyKey]]:
    """Take the stored responses from these keys together with what the block writes, or not at all.

    Their requests do not run again. Yield the keys, locked; left out are those that have no response, and those that
    another transaction holds.
    """
    rows = IdempotencyKey.objects.using(database()).completed().filter(batches.HAS_RESPONSE)
    with _changed(rows, ids, body=None, headers=[]) as keys:
        _erase_results(database(), [key.pk for key in keys])
        yield keys


@contextmanager
def settled(step: int, *, happened: bool, result: str = "") -> Iterator[IdempotentStep | None]:
    """Say whether an uncertain call, or its undo, has happened, together with what the block writes, or not at all.

    Yield the step; or None, and nothing changes, if it is not uncertain any more, or somebody is at its operation. Who
    was at it before cannot write any more. *result* is the JSON of what a call has returned that has happened.
    """
    alias = database()
    features = transaction.get_connection(alias).features
    with transaction.atomic(using=alias):
        steps = IdempotentStep.objects.using(alias).uncertain().filter(pk=step)
        runs = IdempotentRun.objects.using(alias).filter(pk__in=list(steps.values_list("run_id", flat=True)))
        is_free = not features.has_select_for_update_skip_locked or runs.select_for_update(skip_locked=True).exists()
        opened = {"state": IdempotentRun.State.OPEN, "lease_until": None, "resumes": 0, "note": ""}
        if not is_free or not runs.abandoned().update(attempt=F("attempt") + 1, **opened):
            yield None
            return
        found = steps.get()
        if found.state == IdempotentStep.State.UNDOING:
            state = IdempotentStep.State.UNDONE if happened else IdempotentStep.State.DONE
            steps.update(state=state)
        elif happened:
            steps.update(state=IdempotentStep.State.DONE, result=result, finished=timezone.now())
        else:
            steps.delete()
        yield found


def _delete(connection: BaseDatabaseWrapper, rows: IdempotencyKeyQuerySet, ids: Sequence[UUID]) -> int:
    deleted = batches.delete(connection, rows, ids)
    # Not all of these keys need be gone: SQLite has no row locks, and asks in the statement itself.
    kept = IdempotencyKey.objects.using(connection.alias).filter(pk=OuterRef("key_id"))
    runs = IdempotentRun.objects.using(connection.alias)
    for run in list(runs.filter(~Exists(kept), key_id__in=ids).values_list("pk", flat=True)):
        runs.filter(pk=run).delete()  # One by one: see Note [A batch must not scan].
    return deleted


def _erase(connection: BaseDatabaseWrapper, rows: IdempotencyKeyQuerySet, ids: Sequence[UUID]) -> int:
    erased = batches.erase(connection, rows, ids)
    erased_keys = IdempotencyKey.objects.using(connection.alias).filter(pk__in=ids).exclude(batches.HAS_RESPONSE)
    _erase_results(connection.alias, list(erased_keys.values_list("pk", flat=True)))
    return erased


def _erase_results(alias: str, ids: Sequence[UUID]) -> None:
    """Take the results of steps from the operations with these keys, which have ended."""
    runs = IdempotentRun.objects.using(alias).filter(key_id__in=ids, ended__isnull=False)
    for run in list(runs.values_list("pk", flat=True)):
        IdempotentStep.objects.using(alias).filter(run_id=run).update(result="")


def _change(change: batches.Change, rows: IdempotencyKeyQuerySet, ids: Sequence[UUID]) -> int:
    for _ in range(_BATCH_ATTEMPTS - 1):
        try:
            return _change_once(change, rows, ids)
        except OperationalError as error:
            if not is_rerunnable(error, using=rows.db):
                raise
    return _change_once(change, rows, ids)


# The locks are taken first, and the rows asked again under them: a key that a retry has renewed since it was found
# to be expired is not expired any more. SQLite has no row locks: there, the change itself asks, and must be the
# transaction's first statement.
def _change_once(change: batches.Change, rows: IdempotencyKeyQuerySet, ids: Sequence[UUID]) -> int:
    connection = transaction.get_connection(rows.db)
    with transaction.atomic(using=rows.db, durable=True):
        if connection.features.has_select_for_update:
            skip_locked = connection.features.has_select_for_update_skip_locked
            locked = rows.filter(pk__in=ids).select_for_update(skip_locked=skip_locked)
            ids = list(locked.values_list("pk", flat=True))
        return change(connection, rows, ids) if ids else 0


@contextmanager
def _changed(rows: IdempotencyKeyQuerySet, ids: Sequence[UUID], **values: object) -> Iterator[list[IdempotencyKey]]:
    features = transaction.get_connection(rows.db).features
    with transaction.atomic(using=rows.db):
        if not features.has_select_for_update:
            rows.filter(pk__in=ids).update(key=F("key"))  # SQLite locks the database, if its first statement writes.
        locked = rows.filter(pk__in=ids).select_for_update(skip_locked=features.has_select_for_update_skip_locked)
        keys = list(locked.defer("body").order_by("pk"))
        for key in keys:  # One by one: see Note [A batch must not scan].
            rows.filter(pk=key.pk).update(**values)
        yield keys
