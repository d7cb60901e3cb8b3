"""Tables full of keys on PostgreSQL, without the requests that would make them."""

from __future__ import annotations

from typing import Any, Final

TABLE: Final = "django_idempotency_idempotencykey"
USERS: Final = 20_000
_AT_ONCE: Final = 1_000_000

# Keys of the past two days, of which those of the first day have expired: nine in ten in the scopes of users, some of
# whom send far more than others, the rest without a user. The digest is spelled as in `django_idempotency.values`.
_FILL: Final = f"""
WITH keys AS (
    SELECT n,
        now() - interval '2 days' * (1 - n::float / %(rows)s) AS created,
        CASE WHEN random() < 0.1 THEN 'anonymous' ELSE 'user:' || ceil(random() ^ 2 * {USERS}) END AS scope,
        gen_random_uuid()::text AS key,
        random() AS chance
    FROM generate_series(%(first)s, %(last)s) AS n
), hashed AS (
    SELECT *,
        substring(sha256(int4send(length(key)) || key::bytea) FROM 1 FOR 4)
        || substring(
            sha256(
                int4send(4) || 'http'::bytea || int4send(length(scope)) || scope::bytea
                || int4send(length(key)) || key::bytea
            ) FROM 5 FOR 12
        ) AS digest
    FROM keys
)
INSERT INTO %(table)s
    (id, namespace, scope, key, fingerprint, method, path, status, headers, body, created, completed, expires)
SELECT
    encode(
        set_byte(
            set_byte(digest, 6, get_byte(digest, 6) & 15 | 128), 8, get_byte(digest, 8) & 31 | 160
        ), 'hex'
    )::uuid,
    'http', scope, key, repeat(md5(key), 2), CASE WHEN chance < 0.95 THEN 'POST' ELSE 'PATCH' END, '/charges/',
    CASE WHEN chance < 0.9 THEN 201 WHEN chance < 0.999 THEN 402 ELSE 302 END,
    '[["Content-Type", "application/json"], ["Location", "/charges/1234567/"]]',
    CASE WHEN chance > 0.0001 THEN convert_to(
        '{{"id": ' || n || ', "amount": "4.20", "description": "' || repeat(md5(key), 7) || '"}}', 'UTF8'
    ) END,
    created, created + interval '40 ms', created + interval '1 day'
FROM hashed ORDER BY n
"""


def fill(cursor: Any, rows: int, *, table: str = TABLE) -> None:
    """Insert so many keys, in the order in which they were created."""
    for first in range(1, rows + 1, _AT_ONCE):
        last = min(first + _AT_ONCE - 1, rows)
        cursor.execute(_FILL % {"rows": rows, "first": first, "last": last, "table": table})


def copy_empty(cursor: Any, schema: str) -> None:
    """Make a schema with an empty table of keys in it, which has no index yet."""
    cursor.execute(f"CREATE SCHEMA {schema}")
    cursor.execute(f"CREATE TABLE {schema}.{TABLE} (LIKE public.{TABLE} INCLUDING DEFAULTS)")


def copy_indexes(cursor: Any, schema: str) -> None:
    """Give the schema's table the indexes of our own."""
    cursor.execute("SELECT indexdef FROM pg_indexes WHERE schemaname = 'public' AND tablename = %s", [TABLE])
    for (definition,) in cursor.fetchall():
        cursor.execute(definition.replace(f" ON public.{TABLE} ", f" ON {schema}.{TABLE} "))
    cursor.execute(f"VACUUM ANALYZE {schema}.{TABLE}")
