"""What one batch of the purge does to its rows: it reaches them by primary key, and no others.

Note [A batch must not scan]
MariaDB makes a scan of the whole table out of `DELETE … WHERE id IN (…)` as soon as the list is long for the table
(1,000 of 2,000 rows, 3 of 4; 10.11.19), and no index hint changes its mind. A scan waits for every lock that it
meets: the purge would stand behind a request that is still running, until innodb_lock_wait_timeout ends it. So the keys
come as a table of their own, which is joined first: from each key straight to its row, by a hint that joins do obey.
The SELECT that finds nothing gives that table the column's type and collation.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final
from uuid import UUID

from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import Q

from django_idempotency.models import IdempotencyKey, IdempotencyKeyQuerySet

Change = Callable[[BaseDatabaseWrapper, IdempotencyKeyQuerySet, Sequence[UUID]], int]

# What erasing takes away. A key whose answer was never stored looks the same as one that was erased.
HAS_RESPONSE: Final = Q(body__isnull=False) | ~Q(headers=[])


def delete(connection: BaseDatabaseWrapper, rows: IdempotencyKeyQuerySet, ids: Sequence[UUID]) -> int:
    """Delete those of *rows* that have these *ids*, and return how many. No signal is sent.

    On MySQL and MariaDB *rows* are not asked again: the caller holds the locks of all *ids*.
    """
    if connection.vendor == "mysql":
        return _execute(connection, f"DELETE t FROM {_joined(connection, ids)}", ids)
    return int(rows.filter(pk__in=ids)._raw_delete(connection.alias))


def erase(connection: BaseDatabaseWrapper, rows: IdempotencyKeyQuerySet, ids: Sequence[UUID]) -> int:
    """Take the responses from those of *rows* that have these *ids*, and return how many; else as `delete`."""
    if connection.vendor == "mysql":
        return _execute(connection, f"UPDATE {_joined(connection, ids)} SET t.body = NULL, t.headers = '[]'", ids)
    return rows.filter(pk__in=ids).update(body=None, headers=[])


def _joined(connection: BaseDatabaseWrapper, ids: Sequence[UUID]) -> str:
    table = connection.ops.quote_name(IdempotencyKey._meta.db_table)
    value = "(%s)" if getattr(connection, "mysql_is_mariadb", False) else "ROW(%s)"
    keys = f"SELECT id FROM {table} WHERE FALSE UNION ALL VALUES {', '.join([value] * len(ids))}"
    return f"({keys}) AS k STRAIGHT_JOIN {table} AS t FORCE INDEX (PRIMARY) ON t.id = k.id"


def _execute(connection: BaseDatabaseWrapper, sql: str, ids: Sequence[UUID]) -> int:
    with connection.cursor() as cursor:
        cursor.execute(sql, ids if connection.features.has_native_uuid_field else [pk.hex for pk in ids])
        return int(cursor.rowcount)
