"""The transaction that an operation's key shares with its effects: claimed, and settled or left."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from django.db import DatabaseError, OperationalError, router, transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.utils import timezone

from django_idempotency import claims, signals
from django_idempotency.conf import settings
from django_idempotency.exceptions import UsageError
from django_idempotency.models import IdempotencyKey, IdempotencyKeyQuerySet
from django_idempotency.threads import callers
from django_idempotency.values import Operation, Record, StoredResponse
from django_idempotency.wire import Row

# How often one caller claims anew when the database took its transaction back, or the row expired or vanished.
_CLAIM_ATTEMPTS: Final = 4


@dataclass(slots=True, kw_only=True)
class Claim:
    """Whether this caller may run the operation; if not, what is remembered of it."""

    operation: Operation
    using: str
    won: bool
    row: Row = field(default_factory=Row)
    renewed: bool = False
    record: Record | None = None
    started: float = field(default_factory=time.perf_counter)
    settled: bool = False
    response: StoredResponse | None = None

    def settle(self, response: StoredResponse | None) -> None:
        """Keep *response* with the effects, or, if it is None, keep neither: both when the block is left.

        Where the transaction is marked for rollback, nothing is kept, and a success is not answered. What is not
        settled at all is committed as being in progress.
        """
        self.settled = True
        self.response = response


@contextmanager
def claimed(operation: Operation, *, using: str | None = None) -> Iterator[Claim]:
    """Yield a claim: won, inside the one transaction that it shares with the effects; or lost, outside of any.

    Inside a transaction that is open already, the claim is a savepoint of it and ends with it. When the block is
    left with an exception, or the claim was settled without a response, nothing is remembered, and no effect kept.
    A claim that the database takes back again and again is lost, as if the first request was still in progress.

    Raises:
        OperationalError: The database failed, or gave up the transaction of the caller.
        UsageError: Another task's operation is open on this thread's connection. Or the key's row is gone, so that the
            effects could not be remembered; or a success was to be answered whose effects are marked for rollback.
            They roll back.
    """
    alias = using or database()
    connection = transaction.get_connection(alias)
    owns_transaction = renewing = False
    claim: Claim | None = None
    for _ in range(_CLAIM_ATTEMPTS):
        try:
            with _SoleUser(connection), transaction.atomic(using=alias):
                owns_transaction = not connection.savepoint_ids  # Else it is a savepoint of the caller's.
                claim = _claim(operation, connection, renewing=renewing)
                if claim.won:
                    connection.rollback_exc = None  # Django keeps that of an earlier transaction.
                    yield claim
                    if claim.settled:
                        _settle(claim, connection, commit=owns_transaction)
                    return
        except DatabaseError as error:
            if claim is not None and claim.won:
                raise  # The handler's, or the commit's.
            if claims.is_unprepared(error) or (claims.is_rolled_back(error) and owns_transaction):
                continue
            if claims.is_lock_refused(error):
                break
            raise
        renewing = claim.record is not None and claim.record.renewable
        if not renewing:
            break
    yield Claim(operation=operation, using=alias, won=False) if claim is None else claim


# See Note [Coroutines that share a connection].
class _SoleUser:
    """A block in which no other task's operation may use *connection*."""

    def __init__(self, connection: BaseDatabaseWrapper) -> None:
        self.users: list[object] = connection.__dict__.setdefault("_idempotency_users", [])

    def __enter__(self) -> None:
        names = callers()
        if self.users and self.users[-1] is not None and self.users[-1] not in names:
            raise UsageError(
                "Another task's operation is open on this thread's database connection, and the two would share one "
                "transaction. Await one after the other; or give each a thread of its own, outside of a request: "
                "async with asgiref.sync.ThreadSensitiveContext(): ..."
            )
        self.users.append(names[-1] if names else None)

    def __exit__(self, *raised: object) -> None:
        self.users.pop()


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


# Note [An expired key is renewed in a transaction of its own]
# The claim that found the expired row may have left a shared lock on it (InnoDB locks the row that an insert
# collides with). Two retries that both held one could never lock the row for themselves, and both would be told
# to come again. So the first transaction ends, and the next one locks before it claims. It claims all the same:
# that takes PostgreSQL's advisory lock, so that duplicates are told at once, and inserts if the row was purged
# meanwhile.
def _claim(operation: Operation, connection: BaseDatabaseWrapper, *, renewing: bool) -> Claim:
    now = timezone.now()
    locks = connection.features.has_select_for_update
    expired = renewing and locks and _lock_expired(operation, connection, now)
    row = claims.row_of(connection, operation, now)
    won = claims.claim(connection, row)
    renewed = False
    # SQLite has no row locks: the claim, lost or won, has locked the database, and must be the first statement.
    if not won and (expired or (renewing and not locks and _lock_expired(operation, connection, now))):
        _renew(operation, connection, now)
        won = renewed = True
    record = None if won else _look_up(operation, connection, now)
    return Claim(operation=operation, using=connection.alias, won=won, row=row, renewed=renewed, record=record)


def _settle(claim: Claim, connection: BaseDatabaseWrapper, *, commit: bool) -> None:
    if claim.response is None or connection.needs_rollback:
        _require_no_success(claim.response, connection)
        transaction.set_rollback(True, using=claim.using)
        return
    if not claims.complete(connection, claim.row, claim.response, timezone.now(), commit=commit):
        raise UsageError(
            "The handler deleted its own idempotency key, so that its effects could not be remembered. "
            "Delete only expired keys."
        )
    if signals.executed.is_watched or (claim.renewed and signals.expired.is_watched):
        seconds = time.perf_counter() - claim.started
        connection.on_commit(lambda: _report(claim, seconds), robust=True)


# Django marks the transaction when a statement fails, and forgets nothing when the error is caught. Whether it was an
# error or `set_rollback(True)` cannot be told: `rollback_exc` is not set by all that mark (`bulk_create()`, `add()`).
def _require_no_success(response: StoredResponse | None, connection: BaseDatabaseWrapper) -> None:
    if response is not None and response.tells_success:
        raise UsageError(
            "The handler returned a success, but its transaction is marked for rollback: nothing of it would be kept. "
            "Let a database error propagate, or put what may fail into transaction.atomic() and catch the error "
            "outside of that. To try something and take it back, call set_rollback(True) inside such a block."
        ) from connection.rollback_exc  # type: ignore[attr-defined]  # unknown to the stubs


def _report(claim: Claim, seconds: float) -> None:
    if claim.renewed:
        signals.expired.report(claim.operation)
    signals.executed.report(claim.operation, seconds=seconds)


def _look_up(operation: Operation, connection: BaseDatabaseWrapper, now: datetime) -> Record | None:
    record = claims.look_up(connection, operation, now=now, forgotten=now - settings.tombstone_ttl)
    if record is not None and record.response.body is None and not record.expired and settings.tombstone_ttl:
        # Either it was never stored, or its moment has come since, and the purge has erased it. The clock now tells.
        now = timezone.now()
        record = claims.look_up(connection, operation, now=now, forgotten=now - settings.tombstone_ttl)
    return record


def _lock_expired(operation: Operation, connection: BaseDatabaseWrapper, now: datetime) -> bool:
    nowait = connection.features.has_select_for_update_nowait
    expired = _row_of(operation, connection).expired(now - settings.tombstone_ttl)
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
