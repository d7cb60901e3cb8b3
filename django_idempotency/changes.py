"""What the purge and people change of keys that are there: each function is named for what it promises."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any, Final, TypeVar
from uuid import UUID

from django.db import OperationalError, transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import Exists, F, OuterRef, QuerySet
from django.utils import timezone

from django_idempotency import batches, signals
from django_idempotency.conf import settings
from django_idempotency.models import IdempotencyKey, IdempotencyKeyQuerySet, IdempotentRun, IdempotentStep
from django_idempotency.store import database, is_rerunnable

Rows = TypeVar("Rows", bound=QuerySet[Any])

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


# Note [The run is locked before its key]
# An operation's owner locks its run with the first statement of each transaction, and its key, where he changes that,
# after it. Who does it the other way round, while the owner ends, makes the database give one of the two up.
@contextmanager
def forgotten(ids: Sequence[UUID]) -> Iterator[list[IdempotencyKey]]:
    """Let these keys expire together with what the block writes, or not at all: their requests may run again.

    Yield the keys, locked; left out are those that have expired before, and those that another transaction holds. An
    operation of several steps ends here: nobody who is at it can write any more.
    """
    now = timezone.now()
    end = now - settings.tombstone_ttl
    alias = database()
    with transaction.atomic(using=alias):
        rows = IdempotencyKey.objects.using(alias).unexpired(end)
        _lock_database(rows, ids)
        unfinished = IdempotentRun.objects.using(alias).unfinished().filter(key_id__in=ids)
        locked = set(_lock(unfinished).values_list("pk", flat=True))
        keys = _locked(rows, ids)
        in_use = set(unfinished.exclude(pk__in=locked).values_list("key_id", flat=True))
        keys = [key for key in keys if key.pk not in in_use]
        ended = {"state": IdempotentRun.State.ENDED, "ended": now, "lease_until": None, "request": ""}
        for key in keys:  # One by one: see Note [A batch must not scan].
            rows.filter(pk=key.pk).update(expires=end)
            unfinished.filter(key_id=key.pk).update(**ended, note="Expired by hand.")
        yield keys


@contextmanager
def erased(ids: Sequence[UUID]) -> Iterator[list[IdempotencyKey]]:
    """Take the stored responses from these keys together with what the block writes, or not at all.

    Their requests do not run again. Yield the keys, locked; left out are those that have no response, and those that
    another transaction holds.
    """
    rows = IdempotencyKey.objects.using(database()).completed().filter(batches.HAS_RESPONSE)
    with transaction.atomic(using=rows.db):
        _lock_database(rows, ids)
        keys = _locked(rows, ids)
        for key in keys:  # One by one: see Note [A batch must not scan].
            rows.filter(pk=key.pk).update(body=None, headers=[])
        _erase_results(rows.db, [key.pk for key in keys])
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
            ids = list(_lock(rows.filter(pk__in=ids)).values_list("pk", flat=True))
        return change(connection, rows, ids) if ids else 0


def _locked(rows: IdempotencyKeyQuerySet, ids: Sequence[UUID]) -> list[IdempotencyKey]:
    return list(_lock(rows.filter(pk__in=ids)).defer("body").order_by("pk"))


def _lock(rows: Rows) -> Rows:
    features = transaction.get_connection(rows.db).features
    return rows.select_for_update(skip_locked=features.has_select_for_update_skip_locked)


# SQLite has no row locks. It locks the database, if a transaction's first statement writes.
def _lock_database(rows: IdempotencyKeyQuerySet, ids: Sequence[UUID]) -> None:
    if not transaction.get_connection(rows.db).features.has_select_for_update:
        rows.filter(pk__in=ids).update(key=F("key"))
