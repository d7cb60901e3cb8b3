"""Lose database sessions for real, and refuse statements for real."""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Callable, Collection, Iterable
from contextlib import suppress
from types import TracebackType
from typing import Any, Final, Self

from django.db import DatabaseError, OperationalError, connections
from django.db.backends.base.base import BaseDatabaseWrapper

from django_idempotency.exceptions import UsageError

# How long, in seconds, a server may take to end a session.
_TIMEOUT: Final = 10.0


class Sessions:
    """What ends other sessions: a session of its own for each alias, open from beginning to end.

    It also keeps an SQLite database in memory alive while no other session has it open.
    """

    def __init__(self, aliases: Iterable[str], *, timeout: float = _TIMEOUT) -> None:
        self._timeout = timeout
        self._own = {alias: connections[alias].copy() for alias in aliases}

    def __enter__(self) -> Self:
        for connection in self._own.values():
            connection.inc_thread_sharing()
            with connection.cursor() as cursor:
                if connection.vendor == "sqlite":
                    cursor.execute("PRAGMA busy_timeout = 0")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for connection in self._own.values():
            revive(connection)

    def lose(self, lost: Collection[BaseDatabaseWrapper]) -> None:
        """End the sessions behind *lost*, as the death of their process does, and return once they are gone.

        Their open transactions are rolled back by the database. Callable from any thread, a running event
        loop's included.
        """
        failures: list[Exception] = []

        def lose_all() -> None:
            try:
                for connection in lost:
                    self._lose(connection)
            except Exception as error:  # noqa: BLE001 - raised again below
                failures.append(error)

        # Django refuses database access on a thread with a running event loop.
        helper = threading.Thread(target=lose_all, name="lose sessions")
        helper.start()
        helper.join()
        if failures:
            raise failures[0]

    def settle(self) -> None:
        """Return once no lock is left of the sessions that were lost.

        SQLite's go with the last reference to a cursor, and a traceback may have one.
        """
        for connection in self._own.values():
            if connection.vendor == "sqlite" and _is_locked(connection):
                gc.collect()

    def _lose(self, connection: BaseDatabaseWrapper) -> None:
        own = self._own.get(connection.alias)
        if connection.connection is None:
            return
        if own is None or connection.vendor not in _LOSE:
            connection.connection.close()
        else:
            _LOSE[connection.vendor](own, connection.connection, self._timeout)


def _lose_on_postgresql(own: BaseDatabaseWrapper, session: Any, timeout: float) -> None:
    pid = session.info.backend_pid
    with own.cursor() as cursor:
        # Its own timeout looks every 100 ms only.
        cursor.execute("SELECT pg_terminate_backend(%s)", [pid])
        _wait_until_none(cursor, "SELECT COUNT(*) FROM pg_stat_activity WHERE pid = %s", pid, timeout)


def _lose_on_mysql(own: BaseDatabaseWrapper, session: Any, timeout: float) -> None:
    number = session.thread_id()
    with own.cursor() as cursor:
        with suppress(DatabaseError):  # It has ended already.
            cursor.execute(f"KILL CONNECTION {int(number)}")
        _wait_until_none(cursor, "SELECT COUNT(*) FROM information_schema.PROCESSLIST WHERE ID = %s", number, timeout)


def _lose_on_sqlite(own: BaseDatabaseWrapper, session: Any, timeout: float) -> None:  # noqa: ARG001
    # To close it is not enough: SQLite keeps what a cursor still refers to, and with it the transaction.
    session.rollback()
    session.close()


def _is_locked(connection: BaseDatabaseWrapper) -> bool:
    with connection.cursor() as cursor:
        try:
            cursor.execute("BEGIN EXCLUSIVE")
        except OperationalError:
            return True
        cursor.execute("ROLLBACK")
    return False


def _wait_until_none(cursor: Any, count: str, number: int, timeout: float) -> None:
    deadline = time.monotonic() + timeout
    while True:
        cursor.execute(count, [number])
        if cursor.fetchone()[0] == 0:
            return
        if time.monotonic() > deadline:
            raise TimeoutError(
                f"The database did not end session {number} within {timeout:g} seconds. Let the test's user end its "
                "own sessions, and look at what the server is busy with."
            )
        time.sleep(0.001)


_LOSE: Final[dict[str, Callable[[BaseDatabaseWrapper, Any, float], None]]] = {
    "postgresql": _lose_on_postgresql,
    "mysql": _lose_on_mysql,
    "sqlite": _lose_on_sqlite,
}


def revive(connection: BaseDatabaseWrapper) -> None:
    """Let *connection*, whose session is lost, begin a new one when it is next used."""
    connection.in_atomic_block = False
    connection.closed_in_transaction = False
    connection.needs_rollback = False
    connection.savepoint_ids.clear()
    connection.run_on_commit.clear()
    with suppress(DatabaseError):
        connection.close()
    if connection.connection is not None:  # Django does not close SQLite's in memory.
        connection.connection.close()
        connection.connection = None


def refuse(execute: Callable[..., Any], context: dict[str, Any]) -> Any:
    """Have the database cancel a statement, as at a timeout, in place of running it.

    The server raises the error itself, where it can be told to: PostgreSQL then aborts the transaction, MariaDB and
    MySQL undo the statement alone.

    Raises:
        OperationalError: Always.
    """
    connection = context["connection"]
    sql = {
        "postgresql": "DO $$ BEGIN RAISE query_canceled USING MESSAGE = 'canceled by the test kit'; END $$",
        "mysql": "SIGNAL SQLSTATE '70100' SET MYSQL_ERRNO = 1317, MESSAGE_TEXT = 'canceled by the test kit'",
    }.get(connection.vendor)
    if sql is not None:
        execute(sql, None, False, context)
    raise OperationalError("canceled by the test kit")


def require_commits() -> list[str]:
    """Return the aliases that this test may use, none of them inside of a transaction.

    Raises:
        UsageError: One is: nothing would be committed.
    """
    aliases = usable_aliases()
    if blocked := [alias for alias in aliases if connections[alias].in_atomic_block]:
        raise UsageError(
            f"A transaction is open on {', '.join(map(repr, blocked))}: nothing would be committed, and a lost session "
            "would take the test's own data. Use django.test.TransactionTestCase; with pytest-django, "
            '@pytest.mark.django_db(transaction=True, databases="__all__").'
        )
    return aliases


def require_threads() -> None:
    """Refuse databases that threads cannot use at once.

    Raises:
        UsageError: One is SQLite's in memory.
    """
    for alias in connections:
        connection = connections[alias]
        if connection.vendor == "sqlite" and connection.is_in_memory_db():  # type: ignore[attr-defined]  # SQLite's
            raise UsageError(
                f"{alias!r} is SQLite in memory, which threads cannot use at once. Put the test database into a file: "
                f'DATABASES[{alias!r}]["TEST"] = {{"NAME": BASE_DIR / "test.sqlite3"}}.'
            )


def usable_aliases() -> list[str]:
    """Return the aliases that this test may use."""
    usable = []
    for alias in connections:
        try:
            connections[alias].cursor().close()
        except AssertionError:  # Django forbids it to tests that do not name the alias in `databases`.
            continue
        usable.append(alias)
    return usable
