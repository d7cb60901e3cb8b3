"""Statements sent to PostgreSQL past the cursors: fewer messages, and less work for each.

Note [Past the cursors]
Between a statement and the server stand Django's cursor and psycopg's, in which a process spends more time than the
server does on the statement; and psycopg sends BEGIN as a message of its own. The hot path has two statements, whose
types are known. So they are written out and sent as psycopg's own client-side cursors send theirs, by the same
connection, under its lock, and waited for in its way: BEGIN goes with the first, COMMIT with the last. PostgreSQL goes
on to the next statement of a message only if none has failed.

psycopg asks the server's answers whether a transaction is open. So it sends no second BEGIN, and when Django commits
what is committed already, it sends nothing; what waits for the commit (`on_commit`) runs as ever.

Whoever watches or wraps cursors (DEBUG, `execute_wrapper`, another class of cursors) shall see every statement: then
the ordinary way is taken, in which Django begins and commits.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import cache
from typing import TYPE_CHECKING, Any

from django.db import DataError
from django.db.backends.base.base import BaseDatabaseWrapper

from django_idempotency import prepared

with suppress(ImportError):  # It is one engine's.
    from psycopg import errors, generators, pq

if TYPE_CHECKING:
    import psycopg

Value = str | bytes | int | None


class Row(list[Any]):
    """Values that several statements of one transaction take: they are spelled for the first, and not again.

    Where that is prepared, so may the others be: see Note [Prepared where nobody is in between].
    """

    literals: list[bytes] | None = None
    is_prepared: bool | None = None


def execute(
    connection: BaseDatabaseWrapper, statement: str, values: Sequence[Value], *more: Value, commit: bool = False
) -> int:
    """Execute *statement* in the transaction that Django has opened, and return how many rows it has written.

    With *commit*, it is the transaction's last, and Django commits next; unless that would be hidden from somebody,
    the COMMIT goes with it.
    """
    if is_direct(connection):
        return _send(connection, statement, values, more, commit=commit)
    if isinstance(values, Row):
        values.is_prepared = False
    with connection.cursor() as cursor:
        cursor.execute(statement, [*values, *more])
        return int(cursor.rowcount)


def is_direct(connection: BaseDatabaseWrapper) -> bool:
    """Tell whether nobody would miss the cursors: they are those that Django gives to psycopg 3, and not watched."""
    raw = connection.connection
    return (
        connection.vendor == "postgresql"
        and _is_plain(getattr(raw, "cursor_factory", None))
        and not connection.queries_logged
        and not connection.execute_wrappers
        and "cursor" not in vars(connection)
    )


@cache
def _is_plain(cursors: type | None) -> bool:
    """Tell whether *cursors* are psycopg 3's as Django makes them, if not told to bind values on the server."""
    from django.db.backends.postgresql import base, psycopg_any  # noqa: PLC0415 - needs psycopg

    return psycopg_any.is_psycopg3 and cursors is base.Cursor


def _send(
    connection: BaseDatabaseWrapper, statement: str, values: Sequence[Value], more: Sequence[Value], *, commit: bool
) -> int:
    connection.validate_no_broken_transaction()
    raw = connection.connection
    with connection.wrap_database_errors, raw.lock:
        escape = pq.Escaping(raw.pgconn).escape_literal
        literals = _literals(values, escape) + [_literal(value, escape) for value in more]
        if isinstance(values, Row) and values.is_prepared is not False:
            call = prepared.call(connection, statement, literals)
            values.is_prepared = bool(call.name)
        else:
            call = prepared.plain(statement, literals)
        message = [_begin(raw)] if raw.pgconn.transaction_status == pq.TransactionStatus.IDLE else []
        if call.before:
            message.append(call.before)
        written = len(message)
        message.append(call.text)
        if commit:
            message.append(b"COMMIT")
        raw.pgconn.send_query(b"; ".join(message))
        results = raw.wait(generators.execute(raw.pgconn))
        if results[-1].status == pq.ExecStatus.FATAL_ERROR:  # After it, there would be none.
            error = errors.error_from_result(results[-1])
            if isinstance(error, errors.InvalidSqlStatementName):
                prepared.give_up(raw)
            raise error
        if call.before:
            prepared.keep(raw, statement, call, results[written - 1])
        return results[written].command_tuples or 0


def _begin(raw: psycopg.Connection[Any]) -> bytes:
    """Spell the BEGIN of a transaction of the kind that *raw* is set to."""
    words = ["BEGIN"]
    if raw.isolation_level is not None:
        words.append(f"ISOLATION LEVEL {raw.isolation_level.name.replace('_', ' ')}")
    if raw.read_only is not None:
        words.append("READ ONLY" if raw.read_only else "READ WRITE")
    if raw.deferrable is not None:
        words.append("DEFERRABLE" if raw.deferrable else "NOT DEFERRABLE")
    return " ".join(words).encode()


def _literals(values: Sequence[Value], escape: Callable[[bytes], bytes]) -> list[bytes]:
    if not isinstance(values, Row):
        return [_literal(value, escape) for value in values]
    if values.literals is None:
        values.literals = [_literal(value, escape) for value in values]
    return values.literals


def _literal(value: Value, escape: Callable[[bytes], bytes]) -> bytes:
    """Spell *value* as a constant; where it stands tells the server its type."""
    if isinstance(value, str):
        if "\0" in value:
            raise DataError("PostgreSQL's text cannot hold the character NUL (0x00). Take it out.")
        return escape(value.encode())
    if isinstance(value, bytes):
        return b"E'\\\\x%s'" % value.hex().encode()
    return b"NULL" if value is None else b"%d" % value
