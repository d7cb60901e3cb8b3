"""The purge: its speed beside one plain DELETE of the same keys, and what requests feel of either.

Each side finds the same table: keys that have expired, and a tenth as many that have not. It runs in a process of its
own, first alone, then beside clients that send first requests in process.
"""

from __future__ import annotations

import random
import statistics
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Final

from django.db import connection

from benchmarks import deletion
from benchmarks.inprocess import Client
from benchmarks.project.sides import OURS
from benchmarks.results import Spread, Table
from benchmarks.rounds import Stopwatch, interleaved
from benchmarks.scale import Scale
from django_idempotency.models import IdempotencyKey

TABLE: Final = IdempotencyKey._meta.db_table
CLIENTS: Final = 4
# The seconds between two requests of one client: they are to be disturbed by the purge, not by each other.
PAUSE: Final = 0.02
SIDES: Final = {deletion.PURGE: "purge", deletion.DELETE: "one DELETE"}
CUTS: Final = ("p50", "p99", "max")

COLUMNS: Final = (
    "id, namespace, scope, {key}, fingerprint, method, path, status, headers, body, created, completed, expires"
)
HEADERS: Final = '[["Content-Type", "application/json"]]'
# Keys one millisecond apart, {count} of them, the first {offset} seconds from now.
FILL: Final = {
    "postgresql": """
        INSERT INTO {table} ({columns})
        SELECT overlay(overlay(md5(n || '/{count}') PLACING '8' FROM 13) PLACING 'a' FROM 17)::uuid, 'http', 'user:1',
            'key' || n, repeat('f', 64), 'POST', '/charges/', 201, '{headers}', convert_to(repeat('x', 200), 'UTF8'),
            moment - interval '1 day', moment - interval '1 day', moment
        FROM (SELECT n, now() + interval '1 second' * ({offset} + n / 1000.0) AS moment
            FROM generate_series(1, {count}) AS n) AS keys
    """,
    "mysql": """
        INSERT INTO {table} ({columns})
        SELECT CONCAT_WS('-', SUBSTR(digest, 1, 8), SUBSTR(digest, 9, 4), CONCAT('8', SUBSTR(digest, 14, 3)),
                CONCAT('a', SUBSTR(digest, 18, 3)), SUBSTR(digest, 21, 12)), 'http', 'user:1', CONCAT('key', n),
            REPEAT('f', 64), 'POST', '/charges/', 201, '{headers}', REPEAT('x', 200), moment, moment, moment
        FROM (SELECT seq AS n, MD5(CONCAT(seq, '/{count}')) AS digest,
            UTC_TIMESTAMP(6) + INTERVAL ({offset} * 1000 + seq) * 1000 MICROSECOND AS moment
            FROM seq_1_to_{count}) AS generated ORDER BY digest
    """,
    "sqlite": """
        INSERT INTO {table} ({columns})
        WITH RECURSIVE numbers(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < {count})
        SELECT SUBSTR(digest, 1, 12) || '8' || SUBSTR(digest, 14, 3) || 'a' || SUBSTR(digest, 18), 'http', 'user:1',
            'key' || n, 'f', 'POST', '/charges/', 201, '{headers}', ZEROBLOB(200), moment, moment, moment
        FROM (SELECT n, LOWER(HEX(RANDOMBLOB(16))) AS digest,
            STRFTIME('%%Y-%%m-%%d %%H:%%M:%%f', 'now', ({offset} + n / 1000.0) || ' seconds') AS moment FROM numbers)
    """,
}
TIDY: Final = {
    "postgresql": [f"VACUUM ANALYZE {TABLE}", "CHECKPOINT"],
    "mysql": [f"ANALYZE TABLE {TABLE}"],
    "sqlite": ["ANALYZE"],
}


def measure(scale: Scale) -> list[Table]:
    """Measure both ways alone; then the requests: alone, and beside each way."""
    rows = scale.purge_rows
    alone = interleaved({how: partial(deleted, how, rows) for how in SIDES}, rounds=scale.purge_rounds, warm_up=0)
    felt = interleaved(
        {"alone": partial(undisturbed, scale)} | {how: partial(disturbed, how, rows) for how in SIDES},
        rounds=scale.purge_rounds,
        warm_up=0,
    )
    connection.close()
    base = alone[deletion.DELETE]
    return [
        Table(
            title=f"Deleting {rows:,} expired keys of {rows + rows // 10:,}",
            rows={
                name: {
                    "keys/s": Spread.of(each.per_second for each in alone[how]),
                    "speed / one DELETE": Spread.of(
                        each.per_second / other.per_second for each, other in zip(alone[how], base, strict=True)
                    ),
                }
                for how, name in SIDES.items()
            },
        ),
        Table(
            title="First requests meanwhile",
            rows={
                f"beside {SIDES[how]}" if how in SIDES else how: {
                    f"{cut}{suffix}": Spread.of(values)
                    for cut in CUTS
                    for suffix, values in {
                        " ms": [each[cut] * 1e3 for each in latencies],
                        " / alone": [
                            one[cut] / other[cut] for one, other in zip(latencies, felt["alone"], strict=True)
                        ],
                    }.items()
                }
                for how, latencies in felt.items()
            },
        ),
    ]


def deleted(how: str, rows: int) -> deletion.Deletion:
    fill(rows)
    done = deletion.run(how)
    assert done.deleted == rows, f"{how} deleted {done.deleted} of {rows}"
    return done


def undisturbed(scale: Scale) -> dict[str, float]:
    fill(scale.purge_rows)
    with clients() as seconds:
        time.sleep(scale.seconds)
    return cuts(seconds)


def disturbed(how: str, rows: int) -> dict[str, float]:
    fill(rows)
    with clients() as seconds:
        deletion.run(how)
    return cuts(seconds)


def fill(rows: int) -> None:
    """Let the table hold what each side is to find."""
    columns = COLUMNS.format(key=connection.ops.quote_name("key"))
    with connection.cursor() as cursor:
        cursor.execute(f"DELETE FROM {TABLE}" if connection.vendor == "sqlite" else f"TRUNCATE TABLE {TABLE}")
        for count, offset in ((rows, -rows / 1000 - 60), (rows // 10, 86400)):
            statement = FILL[connection.vendor]
            cursor.execute(
                statement.format(table=TABLE, columns=columns, headers=HEADERS, count=count, offset=offset), []
            )
        for statement in TIDY[connection.vendor]:
            cursor.execute(statement)
    connection.close()


@contextmanager
def clients() -> Iterator[list[float]]:
    """Let clients send first requests for as long as the block runs; yield what collects each one's seconds."""

    def send() -> None:
        stopwatch = Stopwatch()
        while not ended.is_set():
            cost = client.send(stopwatch, [str(uuid.uuid4())])
            if begun.is_set():
                seconds.append(cost.wall)
            else:
                ready.release()
                begun.wait()
            ended.wait(random.uniform(0, 2 * PAUSE))
        connection.close()

    client = Client(OURS)
    seconds: list[float] = []
    begun, ended, ready = threading.Event(), threading.Event(), threading.Semaphore(0)
    threads = [threading.Thread(target=send) for _ in range(CLIENTS)]
    for thread in threads:
        thread.start()
    for _ in threads:
        ready.acquire()  # Each has its connection.
    begun.set()
    try:
        yield seconds
    finally:
        ended.set()
        for thread in threads:
            thread.join()


def cuts(seconds: list[float]) -> dict[str, float]:
    """Return the median, the 99th percentile and the slowest."""
    quantiles = statistics.quantiles(seconds, n=100)
    return {"p50": quantiles[49], "p99": quantiles[98], "max": max(seconds)}
