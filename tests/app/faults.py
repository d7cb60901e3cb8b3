"""Ways to make a database fail for real, in the middle of a transaction."""

from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper

from tests.app.models import Deferred

NO_SUCH_ACCOUNT = 2**31 - 1


def cut_session(using: str = "default") -> None:
    """End this thread's database session from another session, as an administrator would; return once it is gone.

    SQLite has no sessions to cut.
    """
    connection = connections[using]
    connection.ensure_connection()
    raw = connection.connection
    if connection.vendor == "postgresql":
        execute_elsewhere(connection, "SELECT pg_terminate_backend(%s, 20000)", raw.info.backend_pid)
    elif connection.vendor == "mysql":
        number = raw.thread_id()
        execute_elsewhere(connection, "KILL CONNECTION %s", number)
        while execute_elsewhere(connection, "SELECT 1 FROM information_schema.processlist WHERE id = %s", number):
            pass
    else:
        message = f"{connection.vendor} has no sessions to cut"
        raise NotImplementedError(message)


def doom_commit(using: str = "default") -> None:
    """Let the COMMIT of the transaction that is open on *using* fail, and nothing before it.

    PostgreSQL and SQLite check a deferred foreign key then. InnoDB has nothing that it checks
    at COMMIT: there the session is cut, which the COMMIT is the next statement to meet.
    """
    if connections[using].features.can_defer_constraint_checks:
        Deferred.objects.using(using).create(account_id=NO_SUCH_ACCOUNT)
    else:
        cut_session(using)


def execute_elsewhere(connection: BaseDatabaseWrapper, sql: str, *params: int) -> int:
    """Execute *sql* in a new session on the same server; return how many rows it found or changed."""
    other = connection.copy()
    try:
        with other.cursor() as cursor:
            cursor.execute(sql, params)
            return int(cursor.rowcount)
    finally:
        other.close()
