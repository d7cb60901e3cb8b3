"""Measure the purge: its speed beside one plain DELETE of the same keys, and what requests feel of either.

    python -m benchmarks.purge postgres://postgres@127.0.0.1:5432/postgres
    python -m benchmarks.purge mysql://root@127.0.0.1:3306/test
    python -m benchmarks.purge sqlite:////tmp/benchmark.sqlite3

It makes a database of its own on that server (a file beside the one that is named), and drops it at the end. Each side
finds the same table: `--rows` keys that have expired, and a tenth as many that have not. It runs in a process of its
own, first alone, then beside clients that send first requests: a claim, an INSERT, the completion. `--json FILE` writes
all figures to a file, too.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import random
import statistics
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import django
import environ
from django.conf import settings

DATABASE = "idempotency_benchmark_purge"
TABLE = "django_idempotency_idempotencykey"
COLUMNS = "id, namespace, scope, {key}, fingerprint, method, path, status, headers, body, created, completed, expires"
HEADERS = '[["Content-Type", "application/json"]]'
CLIENTS = 4
# The seconds between two requests of one client: they are to be disturbed by the purge, not by each other.
PAUSE = 0.02

# Keys one millisecond apart, {count} of them, the first {offset} seconds from now.
FILL = {
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


def main() -> None:
    """Measure both sides, and print a table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.purge", description=__doc__.partition("\n")[0])
    parser.add_argument("url", help="a server, or a file of SQLite's")
    parser.add_argument("--rows", type=int, default=1_000_000, help="expired keys (1,000,000)")
    parser.add_argument("--batch-size", type=int, default=1000, help="keys in each of the purge's transactions (1000)")
    parser.add_argument("--quiet-seconds", type=float, default=10.0, help="requests with neither beside them (10)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there, too")
    options = parser.parse_args()
    configure(options.url)
    with database():
        figures = measure(options)
    report(figures)
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2) + "\n")


def configure(url: str) -> None:
    config = environ.Env.db_url_config(url)
    own = {**config, "NAME": DATABASE}
    if config["ENGINE"].endswith("sqlite3"):
        own["NAME"] = str(Path(config["NAME"]).with_name(f"{DATABASE}.sqlite3"))
        own["OPTIONS"] = {
            "transaction_mode": "IMMEDIATE",
            "timeout": 30,
            "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;",
        }
    settings.configure(
        DATABASES={"default": own, "server": config},
        INSTALLED_APPS=["django_idempotency"],
        SECRET_KEY="benchmark",
        USE_TZ=True,
    )
    django.setup()


@contextmanager
def database() -> Iterator[None]:
    """Make a database of our own, and drop it in the end."""
    from django.core.management import call_command
    from django.db import connection, connections

    with connections["server"].cursor() as cursor:
        if connection.vendor != "sqlite":
            cursor.execute(f"DROP DATABASE IF EXISTS {DATABASE}")
            cursor.execute(f"CREATE DATABASE {DATABASE}")
    try:
        call_command("migrate", verbosity=0)
        with connection.cursor() as cursor:
            cursor.execute("CREATE TABLE effect (label VARCHAR(64))")
        yield
    finally:
        connection.close()
        if connection.vendor == "sqlite":
            for path in Path(connection.settings_dict["NAME"]).parent.glob(f"{DATABASE}.sqlite3*"):
                path.unlink()
        else:
            with connections["server"].cursor() as cursor:
                cursor.execute(f"DROP DATABASE {DATABASE}")
        connections["server"].close()


def fill(rows: int) -> None:
    """Let the table hold what each side is to find."""
    from django.db import connection

    columns = COLUMNS.format(key=connection.ops.quote_name("key"))
    with connection.cursor() as cursor:
        cursor.execute(f"DELETE FROM {TABLE}" if connection.vendor == "sqlite" else f"TRUNCATE TABLE {TABLE}")
        for count, offset in ((rows, -rows / 1000 - 60), (rows // 10, 86400)):
            statement = FILL[connection.vendor]
            cursor.execute(
                statement.format(table=TABLE, columns=columns, headers=HEADERS, count=count, offset=offset), []
            )
        for statement in {
            "postgresql": [f"VACUUM ANALYZE {TABLE}", "CHECKPOINT"],
            "mysql": [f"ANALYZE TABLE {TABLE}"],
            "sqlite": ["ANALYZE"],
        }[connection.vendor]:
            cursor.execute(statement)
    connection.close()


def run_purge(batch_size: int) -> int:
    from django_idempotency.purge import purge

    return purge(batch_size=batch_size).deleted


def run_delete(batch_size: int) -> int:  # noqa: ARG001 - one side of two
    from django.db import connection
    from django.utils import timezone

    with connection.cursor() as cursor:
        now = connection.ops.adapt_datetimefield_value(timezone.now())
        cursor.execute(f"DELETE FROM {TABLE} WHERE expires <= %s", [now])
        return int(cursor.rowcount)


SIDES: dict[str, Callable[[int], int]] = {"purge": run_purge, "one DELETE": run_delete}


def work(url: str, side: str, batch_size: int, results: Any) -> None:
    """Be the process that one side runs in."""
    configure(url)
    started = time.perf_counter()
    deleted = SIDES[side](batch_size)
    results.put((deleted, time.perf_counter() - started))


@contextmanager
def clients() -> Iterator[list[float]]:
    """Let clients send first requests for as long as the block runs; yield what collects each one's milliseconds."""
    from django.db import connection

    from django_idempotency.execution import execute
    from django_idempotency.fingerprint import Fingerprint
    from django_idempotency.values import Operation, StoredResponse

    class Codec:
        def dump(self, value: str) -> StoredResponse:
            return StoredResponse(status=201, headers=[("Content-Type", "application/json")], body=value.encode() * 6)

        def load(self, response: StoredResponse) -> str:
            raise NotImplementedError

    def handler() -> str:
        label = uuid.uuid4().hex
        with connection.cursor() as cursor:
            cursor.execute("INSERT INTO effect (label) VALUES (%s)", [label])
        return label

    def send() -> None:
        while not ended.is_set():
            key = uuid.uuid4().hex
            operation = Operation(
                namespace="http", scope="user:1", key=key, fingerprint=Fingerprint.of(b""), ttl=timedelta(days=1)
            )
            started = time.perf_counter()
            execute(operation, handler, codec=Codec())
            milliseconds.append((time.perf_counter() - started) * 1000)
            time.sleep(random.uniform(0, 2 * PAUSE))
        connection.close()

    milliseconds: list[float] = []
    ended = threading.Event()
    threads = [threading.Thread(target=send) for _ in range(CLIENTS)]
    for thread in threads:
        thread.start()
    try:
        yield milliseconds
    finally:
        ended.set()
        for thread in threads:
            thread.join()


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Return all figures: rows a second of each side alone, and the requests' milliseconds beside each."""
    from django.db import connection

    def run(side: str) -> tuple[int, float]:
        context = multiprocessing.get_context("spawn")
        results = context.Queue()
        process = context.Process(target=work, args=(options.url, side, options.batch_size, results))
        process.start()
        deleted, seconds = results.get()
        process.join()
        return deleted, seconds

    speeds: dict[str, dict[str, float]] = {}
    latencies: dict[str, dict[str, float]] = {}
    for side in SIDES:
        say(f"filling, then {side} alone …")
        fill(options.rows)
        deleted, seconds = run(side)
        assert deleted == options.rows, f"{side} deleted {deleted}"
        speeds[side] = {"rows": deleted, "seconds": seconds, "rows_per_second": deleted / seconds}
    say("requests alone …")
    fill(options.rows)
    with clients() as milliseconds:
        time.sleep(options.quiet_seconds)
    latencies["alone"] = summary(milliseconds)
    for side in SIDES:
        say(f"filling, then requests beside {side} …")
        fill(options.rows)
        with clients() as milliseconds:
            run(side)
        latencies[f"beside {side}"] = summary(milliseconds)
    return {
        "engine": connection.vendor,
        "rows": options.rows,
        "batch_size": options.batch_size,
        "cores": os.cpu_count(),
        "load": os.getloadavg()[0],
        "speeds": speeds,
        "latencies_ms": latencies,
        "speed_ratio": speeds["purge"]["rows_per_second"] / speeds["one DELETE"]["rows_per_second"],
        "latency_ratios": {
            side: {name: latencies[f"beside {side}"][name] / latencies["alone"][name] for name in latencies["alone"]}
            for side in SIDES
        },
    }


def summary(milliseconds: list[float]) -> dict[str, float]:
    cuts = statistics.quantiles(milliseconds, n=100)
    return {"requests": len(milliseconds), "p50": cuts[49], "p95": cuts[94], "p99": cuts[98], "max": max(milliseconds)}


def report(figures: dict[str, Any]) -> None:
    print(
        f"\n{figures['engine']}, {figures['rows']:,} expired keys, {figures['cores']} cores, load {figures['load']:.1f}"
    )
    print(f"\n{'':<22}{'seconds':>10}{'rows/s':>12}")
    for side, speed in figures["speeds"].items():
        print(f"{side:<22}{speed['seconds']:>10.1f}{speed['rows_per_second']:>12,.0f}")
    print(f"{'ratio':<22}{'':>10}{figures['speed_ratio']:>12.2f}")
    print(f"\n{'requests, ms':<22}{'count':>10}{'p50':>10}{'p95':>10}{'p99':>10}{'max':>10}")
    for name, latency in figures["latencies_ms"].items():
        print(f"{name:<22}{latency['requests']:>10}" + "".join(f"{latency[key]:>10.1f}" for key in KEYS))
    for side, ratios in figures["latency_ratios"].items():
        print(f"{f'ratio, {side}':<22}{'':>10}" + "".join(f"{ratios[key]:>10.1f}" for key in KEYS))


KEYS = ("p50", "p95", "p99", "max")


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
