"""The only module that writes, locks or opens a transaction: each function is named for what it promises."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final
from uuid import UUID

from django.db import OperationalError, router, transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import F
from django.utils import timezone

from django_idempotency import batches, claims, signals
from django_idempotency.conf import settings
from django_idempotency.exceptions import UsageError
from django_idempotency.models import IdempotencyKey, IdempotencyKeyQuerySet
from django_idempotency.threads import callers
from django_idempotency.values import Operation, Record, StoredResponse

# How often one caller claims anew when the database took its transaction back, or the row expired or vanished.
_CLAIM_ATTEMPTS: Final = 4
# How often one batch is tried when the database takes its transaction back.
_BATCH_ATTEMPTS: Final = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """Whether this caller may run the operation; if not, what is remembered of it."""

    operation: Operation
    using: str
    won: bool
    renewed: bool = False
    record: Record | None = None
    started: float = field(default_factory=time.perf_counter)

    def settle(self, response: StoredResponse | None) -> None:
        """Keep *response* with the effects, or, if it is None, keep neither.

        A handler that marked the transaction for rollback has decided already: nothing is kept.

        Raises:
            UsageError: The key's row is gone, so that the effects could not be remembered; they roll back.
        """
        connection = transaction.get_connection(self.using)
        if response is None or connection.needs_rollback:
            transaction.set_rollback(True, using=self.using)
            return
        if not claims.complete(connection, self.operation, response, timezone.now()):
            raise UsageError(
                "The handler deleted its own idempotency key, so that its effects could not be remembered. "
                "Delete only expired keys."
            )
        seconds = time.perf_counter() - self.started
        transaction.on_commit(lambda: self._report(seconds), using=self.using, robust=True)

    def _report(self, seconds: float) -> None:
        if self.renewed:
            signals.expired.report(self.operation)
        signals.executed.report(self.operation, seconds=seconds)


@contextmanager
def claimed(operation: Operation, *, using: str | None = None) -> Iterator[Claim]:
    """Yield a claim: won, inside the one transaction that it shares with the effects; or lost, outside of any.

    Inside a transaction that is open already, the claim is a savepoint of it and ends with it. When the block is
    left with an exception, or the claim was settled without a response, nothing is remembered, and no effect kept.
    A claim that the database takes back again and again is lost, as if the first request was still in progress.

    Raises:
        OperationalError: The database failed, or gave up the transaction of the caller.
        UsageError: Another task's operation is open on this thread's connection.
    """
    alias = using or database()
    owns_transaction = not in_transaction(using=alias)
    renewing = False
    claim = Claim(operation=operation, using=alias, won=False)
    for _ in range(_CLAIM_ATTEMPTS):
        try:
            with _sole_user(alias), transaction.atomic(using=alias):
                claim = _claim(operation, alias, renewing=renewing)
                if claim.won:
                    yield claim
                    return
        except OperationalError as error:
            if claim.won:
                raise  # The handler's, or the commit's.
            if claims.is_rolled_back(error) and owns_transaction:
                continue
            if claims.is_lock_refused(error):
                break
            raise
        renewing = claim.record is not None and claim.record.renewable
        if not renewing:
            break
    yield claim


# See Note [Coroutines that share a connection].
@contextmanager
def _sole_user(alias: str) -> Iterator[None]:
    users: list[object] = transaction.get_connection(alias).__dict__.setdefault("_idempotency_users", [])
    names = callers()
    if users and users[-1] is not None and users[-1] not in names:
        raise UsageError(
            "Another task's operation is open on this thread's database connection, and the two would share one "
            "transaction. Await one after the other; or give each a thread of its own, outside of a request: "
            "async with asgiref.sync.ThreadSensitiveContext(): ..."
        )
    users.append(names[-1] if names else None)
    try:
        yield
    finally:
        users.pop()


def is_rerunnable(error: OperationalError, *, using: str | None = None) -> bool:
    """Tell whether the database gave up the whole transaction, so that the same again may succeed."""
    return claims.is_rolled_back(error) and not in_transaction(using=using)


def in_transaction(*, using: str | None = None) -> bool:
    """Tell whether a transaction of the caller's is open on the keys' database."""
    connection = transaction.get_connection(using or database())
    return bool(connection.in_atomic_block or not connection.get_autocommit())


def database() -> str:
    """Return the alias of the database that keys are written to."""
    return str(router.db_for_write(IdempotencyKey))


def tables_without_transactions(*, using: str) -> list[str]:
    """Return the tables on *using* whose writes no rollback takes back."""
    return claims.tables_without_transactions(transaction.get_connection(using))


def delete_expired(ids: Sequence[UUID], *, by: datetime, using: str) -> int:
    """Delete these keys, but for those that did not expire *by* then or that another transaction holds.

    In a transaction of its own, which waits for nobody. Returns how many went.

    Raises:
        RuntimeError: A transaction of the caller's is open.
    """
    deleted = _change(batches.delete, IdempotencyKey.objects.using(using).expired(by), ids)
    if deleted:
        signals.purged.report(None, count=deleted)
    return deleted


def erase_expired(ids: Sequence[UUID], *, by: datetime, using: str) -> int:
    """Take the stored responses from these keys, and keep the keys; with the exceptions of `delete_expired`."""
    return _change(batches.erase, IdempotencyKey.objects.using(using).expired(by).filter(batches.HAS_RESPONSE), ids)


def max_batch_size(*, using: str) -> int:
    """Return how many keys one statement can name; some more parameters have room."""
    max_params = transaction.get_connection(using).features.max_query_params
    return sys.maxsize if max_params is None else max_params - 10


@contextmanager
def forgotten(ids: Sequence[UUID]) -> Iterator[list[IdempotencyKey]]:
    """Let these keys expire together with what the block writes, or not at all: their requests may run again.

    Yield the keys, locked; left out are those that have expired before, and those that another transaction holds.
    """
    end = timezone.now() - settings.tombstone_ttl
    with _changed(IdempotencyKey.objects.using(database()).unexpired(end), ids, expires=end) as keys:
        yield keys


@contextmanager
def erased(ids: Sequence[UUID]) -> Iterator[list[IdempotencyKey]]:
    """Take the stored responses from these keys together with what the block writes, or not at all.

    Their requests do not run again. Yield the keys, locked; left out are those that have no response, and those that
    another transaction holds.
    """
    rows = IdempotencyKey.objects.using(database()).completed().filter(batches.HAS_RESPONSE)
    with _changed(rows, ids, body=None, headers=[]) as keys:
        yield keys


# Note [An expired key is renewed in a transaction of its own]
# The claim that found the expired row may have left a shared lock on it (InnoDB locks the row that an insert
# collides with). Two retries that both held one could never lock the row for themselves, and both would be told
# to come again. So the first transaction ends, and the next one locks before it claims. It claims all the same:
# that takes PostgreSQL's advisory lock, so that duplicates are told at once, and inserts if the row was purged
# meanwhile.
def _claim(operation: Operation, alias: str, *, renewing: bool) -> Claim:
    connection = transaction.get_connection(alias)
    now = timezone.now()
    forgotten = now - settings.tombstone_ttl
    locks = connection.features.has_select_for_update
    expired = renewing and locks and _lock_expired(operation, connection, forgotten)
    won = claims.claim(connection, operation, now)
    renewed = False
    # SQLite has no row locks: the claim, lost or won, has locked the database, and must be the first statement.
    if not won and (expired or (renewing and not locks and _lock_expired(operation, connection, forgotten))):
        _renew(operation, connection, now)
        won = renewed = True
    record = None if won else _look_up(operation, connection, now)
    return Claim(operation=operation, using=alias, won=won, renewed=renewed, record=record)


def _look_up(operation: Operation, connection: BaseDatabaseWrapper, now: datetime) -> Record | None:
    record = claims.look_up(connection, operation, now=now, forgotten=now - settings.tombstone_ttl)
    if record is not None and record.response.body is None and not record.expired and settings.tombstone_ttl:
        # Either it was never stored, or its moment has come since, and the purge has erased it. The clock now tells.
        now = timezone.now()
        record = claims.look_up(connection, operation, now=now, forgotten=now - settings.tombstone_ttl)
    return record


def _lock_expired(operation: Operation, connection: BaseDatabaseWrapper, forgotten: datetime) -> bool:
    nowait = connection.features.has_select_for_update_nowait
    expired = _row_of(operation, connection).expired(forgotten)
    return bool(expired.select_for_update(nowait=nowait).values_list("pk"))


def _renew(operation: Operation, connection: BaseDatabaseWrapper, now: datetime) -> None:
    _row_of(operation, connection).update(
        fingerprint=operation.fingerprint.sign(),
        method=operation.method,
        path=operation.path,
        status=None,
        headers=[],
        body=None,
        created=now,
        completed=None,
        expires=now + operation.ttl,
    )


def _row_of(operation: Operation, connection: BaseDatabaseWrapper) -> IdempotencyKeyQuerySet:
    return IdempotencyKey.objects.using(connection.alias).filter(pk=operation.digest)


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
