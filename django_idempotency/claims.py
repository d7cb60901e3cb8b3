"""The SQL of the hot path: the claim, one function an engine; the look-up; the completion.

Note [The claim never waits]
One INSERT decides who is first: its row count is 1 for one caller and 0 for all others, on every engine, because
the primary key is the operation's digest. All that differs is how a duplicate learns that the first request is
still running without waiting for it: PostgreSQL asks for an advisory lock of the transaction, MariaDB and MySQL
give up at once on the row's lock. Where an engine has neither, the duplicate waits for the first to commit, and
then gets its answer.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, Final

from django.db import DatabaseError, IntegrityError, OperationalError, transaction
from django.db.backends.base.base import BaseDatabaseWrapper

from django_idempotency import wire
from django_idempotency.models import IdempotencyKey
from django_idempotency.values import Operation, Record, StoredResponse
from django_idempotency.wire import Row

Claimer = Callable[[BaseDatabaseWrapper, Row], bool]

# Lock wait timed out; NOWAIT (MySQL 8).
_MYSQL_LOCKED: Final = frozenset({1205, 3572})
_PG_LOCK_NOT_AVAILABLE: Final = "55P03"
# Deadlock; record changed since the snapshot (MariaDB with innodb_snapshot_isolation).
_MYSQL_ROLLED_BACK: Final = frozenset({1213, 1020})
# Serialization failure; deadlock.
_PG_ROLLED_BACK: Final = frozenset({"40001", "40P01"})
# The prepared statement is not there.
_PG_UNPREPARED: Final = "26000"
# A read transaction cannot become a write transaction, since another has written meanwhile.
_SQLITE_BUSY_SNAPSHOT: Final = 517

_TABLE: Final = IdempotencyKey._meta.db_table
_COLUMNS: Final = "id, namespace, scope, {key}, fingerprint, method, path, created, expires"
_PLACEHOLDERS: Final = ", ".join(["%s"] * 9)
_QUOTED_COLUMNS: Final = _COLUMNS.format(key='"key"')

_CLAIM_ON_POSTGRESQL: Final = (
    f"INSERT INTO \"{_TABLE}\" ({_QUOTED_COLUMNS}, headers) SELECT {_PLACEHOLDERS}, '[]' "
    "WHERE pg_try_advisory_xact_lock(%s) ON CONFLICT DO NOTHING"
)
# Note [Completed and committed in one message]
# PostgreSQL takes several statements in one message, and goes on to the next only if none has failed. So the COMMIT,
# which would come next anyway, is sent with the completion. It could not be taken back if there was no row to complete:
# hence this is an INSERT, which finds the row that the claim has inserted, and writes it anew if the handler has
# deleted it. Nor does it meet, as an UPDATE would, a row that a purge has deleted since the snapshot (repeatable read).
_COMPLETION_ON_POSTGRESQL: Final = (
    f'INSERT INTO "{_TABLE}" ({_QUOTED_COLUMNS}, headers, status, body, completed) '
    f"VALUES ({_PLACEHOLDERS}, %s, %s, %s, %s) ON CONFLICT (id) DO UPDATE SET headers = excluded.headers, "
    "status = excluded.status, body = excluded.body, completed = excluded.completed"
)


def row_of(connection: BaseDatabaseWrapper, operation: Operation, now: datetime) -> Row:
    """Return what a claim of *operation* inserts, in the engine's terms: a value for each of _COLUMNS."""
    return Row(
        [
            operation.digest.hex,
            operation.namespace,
            operation.scope,
            operation.key,
            operation.fingerprint.sign(),
            operation.method,
            operation.path,
            _moment(connection, now),
            _moment(connection, now + operation.ttl),
        ]
    )


def claim(connection: BaseDatabaseWrapper, row: Row) -> bool:
    """Insert an operation's *row*, and tell whether this caller did it."""
    return claimer(connection)(connection, row)


def claimer(connection: BaseDatabaseWrapper) -> Claimer:
    """Return the claim of the connection's engine."""
    engine = connection.vendor
    if engine == "mysql" and getattr(connection, "mysql_is_mariadb", False):
        engine = "mariadb"
    return CLAIMERS.get(engine, claim_on_any)


def claim_on_postgresql(connection: BaseDatabaseWrapper, row: Row) -> bool:
    """Insert unless another transaction holds the operation's advisory lock, or has committed its row.

    The lock ends with the transaction, so that a pooler in transaction mode cannot strand it. Its 64 bits are
    the digest's last: two keys that share them are told to come again, and never mixed up.
    """
    return wire.execute(connection, _CLAIM_ON_POSTGRESQL, row, _lock(row[0])) == 1


def claim_on_mariadb(connection: BaseDatabaseWrapper, row: Row) -> bool:
    """Insert without waiting for a row that another transaction has inserted and not committed."""
    statement = f"SET STATEMENT innodb_lock_wait_timeout=0 FOR INSERT IGNORE {_into(connection)}"
    try:
        return _written(connection, statement, row) == 1
    except OperationalError as error:
        if _code(error) in _MYSQL_LOCKED:
            return False
        raise


def claim_on_mysql(connection: BaseDatabaseWrapper, row: Row) -> bool:
    """Look for the row without waiting, then insert.

    MySQL has no timeout for one statement. Between the two statements another claim can slip in; this one then
    waits for it, and gets its answer.
    """
    try:
        with connection.cursor() as cursor:
            cursor.execute(f"SELECT 1 FROM {_table(connection)} WHERE id = %s FOR UPDATE NOWAIT", row[:1])
            if cursor.fetchone():
                return False
        return _written(connection, f"INSERT IGNORE {_into(connection)}", row) == 1
    except OperationalError as error:
        if _code(error) in _MYSQL_LOCKED:
            return False
        raise


def claim_on_sqlite(connection: BaseDatabaseWrapper, row: Row) -> bool:
    """Insert; SQLite has one writer at a time, so that a duplicate waits for it (`timeout` in OPTIONS)."""
    return _written(connection, f"INSERT {_into(connection)} ON CONFLICT DO NOTHING", row) == 1


def claim_on_any(connection: BaseDatabaseWrapper, row: Row) -> bool:
    """Insert in a savepoint; a duplicate waits for the first to commit, as the primary key makes it."""
    try:
        with transaction.atomic(using=connection.alias):
            _written(connection, f"INSERT {_into(connection)}", row)
    except IntegrityError:
        return False
    return True


CLAIMERS: Final[dict[str, Claimer]] = {
    "postgresql": claim_on_postgresql,
    "mariadb": claim_on_mariadb,
    "mysql": claim_on_mysql,
    "sqlite": claim_on_sqlite,
}


def hold(connection: BaseDatabaseWrapper, operation: Operation) -> None:
    """Have no claim wait for this transaction, though it is about to change the operation's row, which is committed.

    PostgreSQL's INSERT waits for whoever changes the row that it collides with, unless he has the advisory lock.
    Another claim has that for a moment only.
    """
    if connection.vendor == "postgresql":
        wire.execute(connection, "SELECT pg_advisory_xact_lock(%s)", [_lock(operation.digest.hex)])


def look_up(
    connection: BaseDatabaseWrapper, operation: Operation, *, now: datetime, forgotten: datetime
) -> Record | None:
    """Return what is remembered of *operation*, without a lock: a completed row does not change.

    What expired by *now* is refused; what expired by *forgotten* may run again.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT namespace, scope, {connection.ops.quote_name('key')}, fingerprint, status, headers, body, "
            f"completed IS NOT NULL, expires <= %s, expires <= %s FROM {_table(connection)} WHERE id = %s",
            [_moment(connection, now), _moment(connection, forgotten), operation.digest.hex],
        )
        row = cursor.fetchone()
    if row is None:
        return None
    namespace, scope, key, fingerprint, status, headers, body, completed, expired, renewable = row
    if (namespace, scope, key) != (operation.namespace, operation.scope, operation.key):
        # Two identities with one digest: no fingerprint matches, so that this one is refused, and nothing leaks.
        fingerprint = ""
    return Record(
        fingerprint=fingerprint,
        response=StoredResponse(
            status=status,
            headers=[(name, value) for name, value in json.loads(headers)],
            body=None if body is None else bytes(body),
        ),
        completed=bool(completed),
        expired=bool(expired),
        renewable=bool(renewable),
    )


def complete(
    connection: BaseDatabaseWrapper, row: Row, response: StoredResponse, now: datetime, *, commit: bool
) -> bool:
    """Write *response* to the operation's *row*, and tell whether it is there: the row may be gone.

    With *commit*, the caller owns the transaction, and commits next: where it saves a message, that is done here.
    Where the answer is no, or an error is raised, nothing was committed, unless the session was lost meanwhile.
    """
    headers = json.dumps(list(response.headers))
    completed = _moment(connection, now)
    if connection.vendor == "postgresql":
        values = headers, response.status, response.body, completed
        return wire.execute(connection, _COMPLETION_ON_POSTGRESQL, row, *values, commit=commit) == 1
    body = response.body
    if body is not None:
        body = connection.Database.Binary(body)  # type: ignore[attr-defined]  # every backend has it
    statement = f"UPDATE {_table(connection)} SET headers = %s, status = %s, body = %s, completed = %s WHERE id = %s"
    return _written(connection, statement, [headers, response.status, body, completed, row[0]]) == 1


def tables_without_transactions(connection: BaseDatabaseWrapper) -> list[str]:
    """Return the tables of the connection's database whose storage engine cannot roll back."""
    if connection.vendor != "mysql":
        return []
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT TABLE_NAME FROM information_schema.TABLES JOIN information_schema.ENGINES USING (ENGINE) "
            "WHERE TABLE_SCHEMA = DATABASE() AND TRANSACTIONS = 'NO' ORDER BY TABLE_NAME"
        )
        return [name for (name,) in cursor.fetchall()]


def is_unprepared(error: DatabaseError) -> bool:
    """Tell whether the statement was not prepared in this session after all: the connection prepares no more."""
    return _code(error) == _PG_UNPREPARED


def is_lock_refused(error: DatabaseError) -> bool:
    """Tell whether the database did not give a row's lock at once: another transaction is at it."""
    code = _code(error)
    return code in _MYSQL_LOCKED or code == _PG_LOCK_NOT_AVAILABLE


def is_rolled_back(error: DatabaseError) -> bool:
    """Tell whether the database gave up this transaction for another's sake: the same again may succeed."""
    code = _code(error)
    return code in _MYSQL_ROLLED_BACK or code in _PG_ROLLED_BACK or code == _SQLITE_BUSY_SNAPSHOT


def _written(connection: BaseDatabaseWrapper, statement: str, values: Sequence[Any]) -> int:
    """Execute *statement*, and return how many rows it has written."""
    with connection.cursor() as cursor:
        cursor.execute(statement, values)
        return int(cursor.rowcount)


def _code(error: DatabaseError) -> int | str | None:
    """Return the SQLSTATE of PostgreSQL (psycopg 3, psycopg2), or the number of MySQL, MariaDB or SQLite."""
    cause = error.__cause__
    for attribute in ("sqlstate", "pgcode", "sqlite_errorcode"):
        code: int | str | None = getattr(cause, attribute, None)
        if code is not None:
            return code
    return error.args[0] if error.args and isinstance(error.args[0], int) else None


def _lock(digest: str) -> int:
    return int.from_bytes(bytes.fromhex(digest)[8:], "big", signed=True)


def _moment(connection: BaseDatabaseWrapper, moment: datetime) -> Any:
    """Return *moment* as the engine takes it; for PostgreSQL it is spelled here, once, not for each statement."""
    return str(moment) if connection.vendor == "postgresql" else connection.ops.adapt_datetimefield_value(moment)


def _table(connection: BaseDatabaseWrapper) -> str:
    return connection.ops.quote_name(_TABLE)


def _into(connection: BaseDatabaseWrapper) -> str:
    columns = _COLUMNS.format(key=connection.ops.quote_name("key"))
    return f"INTO {_table(connection)} ({columns}, headers) VALUES ({_PLACEHOLDERS}, '[]')"
