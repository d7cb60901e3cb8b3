"""What one index more would cost each first request, on PostgreSQL.

Each request claims a key, writes one row of effects, stores a response and commits. Two tables of the same rows take
turns, one with an index more than the primary key and the expiry. Each turn begins after a checkpoint: the first
requests after one are those that write most to the log (WAL).
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Final

from django.db import connection

from benchmarks.database import backend_pid
from benchmarks.filling import TABLE, USERS, copy_empty, copy_indexes, fill
from benchmarks.results import Figure, Spread, Table
from benchmarks.rounds import Cost, Stopwatch, interleaved
from benchmarks.scale import Scale
from django_idempotency.execution import execute
from django_idempotency.fingerprint import Fingerprint
from django_idempotency.values import Operation, StoredResponse

WITH, WITHOUT = "with_index", "without_index"
INDEXES: Final = {"scope": "(scope)", "key": "(key)", "scope, expires": "(scope, expires)", "created": "(created)"}


@dataclass(frozen=True, slots=True)
class Turn:
    cost: Cost
    log: float


def measure(scale: Scale) -> list[Table]:
    with connection.cursor() as cursor:
        for schema in (WITH, WITHOUT):
            copy_empty(cursor, schema)
            fill(cursor, scale.admin_rows, table=f"{schema}.{TABLE}")
            copy_indexes(cursor, schema)
            cursor.execute(f"DROP INDEX {schema}.idempotency_scope")
            cursor.execute(f"CREATE TABLE {schema}.effect (id bigserial PRIMARY KEY, label text)")
    rows = {name: measured(columns, scale) for name, columns in INDEXES.items()}
    return [Table(title=f"First requests with one index more, against none, with {scale.admin_rows:,} keys", rows=rows)]


def measured(columns: str, scale: Scale) -> dict[str, Figure]:
    """Let both tables take turns, and set what they cost beside each other."""
    with connection.cursor() as cursor:
        cursor.execute(f"CREATE INDEX more ON {WITH}.{TABLE} {columns}")
        cursor.execute(f"SELECT pg_relation_size('{WITH}.more')")
        (size,) = cursor.fetchone()
        cursor.execute("VACUUM ANALYZE")
    stopwatch = Stopwatch(pid=backend_pid())
    turns = interleaved(
        {schema: partial(take_turn, schema, stopwatch, scale.requests * 20) for schema in (WITH, WITHOUT)},
        rounds=scale.rounds // 3 or 1,
    )
    with connection.cursor() as cursor:
        cursor.execute(f"DROP INDEX {WITH}.more")
    sides = list(zip(turns[WITH], turns[WITHOUT], strict=True))
    return {
        "MB": size / 1e6,
        "time": Spread.of(one.cost.wall / other.cost.wall for one, other in sides),
        "CPU": Spread.of(one.cost.cpu / other.cost.cpu for one, other in sides),
        "WAL": Spread.of(one.log / other.log for one, other in sides),
        "WAL, bytes a request": Spread.of(one.log for one, _ in sides),
        "without": Spread.of(other.log for _, other in sides),
    }


def take_turn(schema: str, stopwatch: Stopwatch, requests: int) -> Turn:
    with connection.cursor() as cursor:
        cursor.execute(f"SET search_path = {schema}, public")
        cursor.execute("CHECKPOINT")
    before = log_position()
    cost = stopwatch.cost([first_request] * requests)
    return Turn(cost, (log_position() - before) / requests)


def log_position() -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_current_wal_insert_lsn() - '0/0'")
        return int(cursor.fetchone()[0])


class ResponseOfTheKind:
    """Keep what a payment's response usually is."""

    headers: Final = (("Content-Type", "application/json"), ("Location", "/charges/1234567/"))

    def dump(self, value: None) -> StoredResponse:  # noqa: ARG002 - the protocol's
        return StoredResponse(status=201, headers=self.headers, body=b'{"description": "%s"}' % (b"x" * 224))

    def load(self, response: StoredResponse) -> None:
        raise NotImplementedError("Each key is sent once.")


def first_request() -> None:
    operation = Operation(
        namespace="http",
        scope=f"user:{1 + uuid.uuid4().int % USERS}",
        key=str(uuid.uuid4()),
        fingerprint=Fingerprint.of(b"{}"),
        ttl=timedelta(days=1),
        method="POST",
        path="/charges/",
    )
    execute(operation, charge, codec=ResponseOfTheKind())


def charge() -> None:
    with connection.cursor() as cursor:
        cursor.execute("INSERT INTO effect (label) VALUES ('charge')")
