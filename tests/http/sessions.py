"""What PostgreSQL tells of the sessions of the test database, but for the one that asks."""

import time

from django.db import connection

from tests.gate import TIMEOUT


def in_transaction() -> list[int]:
    """Return the sessions that rest inside of a transaction."""
    return [pid for pid, _ in resting("state LIKE 'idle in transaction%'")]


def wait_for_rests(times: int) -> None:
    """Return once some session has ended a transaction and rested outside of any, again and again.

    That is what a waiting request looks like which holds no transaction; one that held it would rest inside.
    Raises TimeoutError if no session does.
    """
    deadline = time.monotonic() + TIMEOUT
    rests: dict[int, set[object]] = {}
    while time.monotonic() < deadline:
        for pid, started in resting("state = 'idle' AND query IN ('COMMIT', 'ROLLBACK')"):
            rests.setdefault(pid, set()).add(started)
            if len(rests[pid]) >= times:
                return
    message = "no session rests outside of a transaction"
    raise TimeoutError(message)


def resting(condition: str) -> list[tuple[int, object]]:
    """Return the sessions for which *condition* holds, and when each began its last statement."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pid, query_start FROM pg_stat_activity "
            f"WHERE datname = current_database() AND pid <> pg_backend_pid() AND {condition}"
        )
        return list(cursor.fetchall())
