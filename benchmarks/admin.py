"""Measure the admin page on two million keys, and what an index costs each first request, on PostgreSQL.

    python -m benchmarks.admin postgres://postgres@127.0.0.1:5432/postgres

It makes a database of its own on that server, fills it, and drops it at the end. `pages` or `indexes` after the
address runs one half; `--rows` and `--rounds` change the size, `--keep` keeps the database. Times are those of whole
requests, from Django's test client: session, user, queries and templates included.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import django
import environ
from django.conf import settings
from django.urls import path

DATABASE = "idempotency_benchmark_admin"
TABLE = "django_idempotency_idempotencykey"
USERS = 20_000

# Keys of the past two days, of which those of the first day have expired: nine in ten in the scopes of users, some of
# whom send far more than others, the rest without a user. The digest is spelled as in `django_idempotency.values`.
FILL = f"""
WITH keys AS (
    SELECT n,
        now() - interval '2 days' * (1 - n::float / %(rows)s) AS created,
        CASE WHEN random() < 0.1 THEN 'anonymous' ELSE 'user:' || ceil(random() ^ 2 * {USERS}) END AS scope,
        gen_random_uuid()::text AS key,
        random() AS chance
    FROM generate_series(1, %(rows)s) AS n
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
INSERT INTO {TABLE}
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
SIDES = ("with_index", "without")
INDEXES = {"scope": "(scope)", "key": "(key)", "scope, expires": "(scope, expires)", "created": "(created)"}


def main() -> None:
    """Run what was asked for, and print a table for each half."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.admin", description=__doc__.partition("\n")[0])
    parser.add_argument("url", help="a PostgreSQL server, as postgres://user@host:port/name")
    parser.add_argument("halves", nargs="*", default=["pages", "indexes"], metavar="pages|indexes")
    parser.add_argument("--rows", type=int, default=2_000_000)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--keep", action="store_true", help="keep the database, and use it if it is there")
    options = parser.parse_args()
    configure(options.url)
    with database(options.rows, keep=options.keep):
        if "pages" in options.halves:
            measure_pages(options.rounds)
        if "indexes" in options.halves:
            measure_indexes(options.rounds)


def configure(url: str) -> None:
    config = environ.Env.db_url_config(url)
    settings.configure(
        DATABASES={"default": {**config, "NAME": DATABASE}, "server": config},
        INSTALLED_APPS=[
            "django.contrib.admin",
            "django.contrib.auth",
            "django.contrib.contenttypes",
            "django.contrib.messages",
            "django.contrib.sessions",
            "django.contrib.staticfiles",
            "django_idempotency",
        ],
        MIDDLEWARE=[
            "django.middleware.security.SecurityMiddleware",
            "django.contrib.sessions.middleware.SessionMiddleware",
            "django.middleware.common.CommonMiddleware",
            "django.middleware.csrf.CsrfViewMiddleware",
            "django.contrib.auth.middleware.AuthenticationMiddleware",
            "django.contrib.messages.middleware.MessageMiddleware",
        ],
        TEMPLATES=[
            {
                "BACKEND": "django.template.backends.django.DjangoTemplates",
                "APP_DIRS": True,
                "OPTIONS": {
                    "context_processors": [
                        "django.template.context_processors.request",
                        "django.contrib.auth.context_processors.auth",
                        "django.contrib.messages.context_processors.messages",
                    ],
                },
            },
        ],
        ROOT_URLCONF=__name__,
        ALLOWED_HOSTS=["*"],
        SECRET_KEY=uuid.uuid4().hex,
        STATIC_URL="static/",
        USE_TZ=True,
    )
    django.setup()


def __getattr__(name: str) -> Any:
    """Return the URL patterns, which cannot be made before the settings."""
    if name == "urlpatterns":
        from django.contrib import admin

        return [path("admin/", admin.site.urls)]
    raise AttributeError(name)


@contextmanager
def database(rows: int, *, keep: bool) -> Iterator[None]:
    """Fill a database of our own, and drop it in the end."""
    from django.core.management import call_command
    from django.db import connection, connections

    with connections["server"].cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_database WHERE datname = %s", [DATABASE])
        exists = bool(cursor.fetchone()[0])
        if exists and not keep:
            cursor.execute(f"DROP DATABASE {DATABASE}")
            exists = False
        if not exists:
            cursor.execute(f"CREATE DATABASE {DATABASE}")
    try:
        if not exists:
            call_command("migrate", verbosity=0)
            with connection.cursor() as cursor:
                cursor.execute(
                    "INSERT INTO auth_user (id, username, password, is_superuser, is_staff, is_active, date_joined, "
                    f"first_name, last_name, email) SELECT n, 'customer' || n, '', n = 1, n = 1, true, now(), '', '', "
                    f"'' FROM generate_series(1, {USERS}) AS n"
                )
                cursor.execute(FILL % {"rows": rows})
                cursor.execute("VACUUM ANALYZE")
        yield
    finally:
        connection.close()
        if not keep:
            with connections["server"].cursor() as cursor:
                cursor.execute(f"DROP DATABASE {DATABASE}")
        connections["server"].close()


def measure_pages(rounds: int) -> None:
    """Print how long each page takes."""
    from django.contrib.auth.models import User
    from django.db import connection
    from django.test import Client

    from django_idempotency.models import IdempotencyKey
    from django_idempotency.values import digests_of

    client = Client()
    client.force_login(User.objects.get(pk=1))
    keys = IdempotencyKey.objects.defer("body")
    middle = keys.filter(scope__startswith="user:").order_by("-expires")[10_000]
    least, greatest = digests_of(middle.key)
    assert least <= middle.pk <= greatest, "the rows are not under their digests"
    unowned = keys.filter(scope="anonymous").order_by("-expires")[10_000]
    size = IdempotencyKey.objects.count()
    with_body = f"{keys.filter(status=201).order_by('expires')[0].pk}/change/"
    pages = {
        "list": ("", 100),
        "list, last page": ("?p=40", 100),
        "list, further back": (f"?before={middle.expires.isoformat().replace('+', '%2B')}", 100),
        "filter: completed": ("?state=completed", 100),
        "filter: expired, PATCH": ("?state=expired&method=PATCH", 100),
        "filter: response not stored (rare)": ("?state=not_stored", 100),
        "filter: status 5xx (none)": ("?status=5xx", 100),
        "filter: created in the past hour": ("?created=hour", 100),
        "search: key": (f"?q={middle.key}", 50),
        "search: digest": (f"?q={middle.pk}", 50),
        "search: user name": (f"?q=customer{middle.scope.removeprefix('user:')}", 50),
        "search: scope": (f"?q={middle.scope}", 50),
        "search: scope of one key in ten": ("?q=anonymous", 100),
        "search: nothing found": ("?q=nothing", 50),
        "key": (f"{middle.pk}/change/", 50),
        "key, of the first to expire": (with_body, 50),
        "key, in the scope of one in ten": (f"{unowned.pk}/change/", 50),
        "download": (f"{middle.pk}/response/", 50),
    }
    print(f"\n{size:,} keys; milliseconds of {rounds} requests, and what of them both processes spent on the CPU\n")
    print(f"{'page':<40} {'median':>8} {'fastest':>8} {'slowest':>8} {'CPU':>8} {'goal':>6}")
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        (pid,) = cursor.fetchone()
    for name, (address, goal) in pages.items():

        def visit(address: str = address) -> None:
            response = client.get(f"/admin/django_idempotency/idempotencykey/{address}")
            assert response.status_code == 200, response.status_code

        visit()
        cpu = time.process_time() + cpu_seconds(pid)
        times = [milliseconds(visit) for _ in range(rounds)]
        cpu = (time.process_time() + cpu_seconds(pid) - cpu) * 1000 / rounds
        print(
            f"{name:<40} {statistics.median(times):8.1f} {min(times):8.1f} {max(times):8.1f} {cpu:8.1f} {goal:6}",
            flush=True,
        )


def milliseconds(run: Callable[[], object]) -> float:
    start = time.perf_counter()
    run()
    return (time.perf_counter() - start) * 1000


def measure_indexes(rounds: int) -> None:
    """Print what first requests cost with an index more, against the same without it.

    Each request claims a key, writes one row of effects, stores a response and commits. Both sides take turns, on
    tables of the same rows; the ratios are medians of the turns. What they write to the log (WAL) is counted apart, in
    the first requests after a checkpoint, which are the ones that write most.
    """
    from django.db import connection

    with connection.cursor() as cursor:
        for schema in SIDES:
            cursor.execute(f"DROP SCHEMA IF EXISTS {schema} CASCADE")
            cursor.execute(f"CREATE SCHEMA {schema}")
            cursor.execute(f"CREATE TABLE {schema}.{TABLE} (LIKE public.{TABLE} INCLUDING DEFAULTS)")
            cursor.execute(f"INSERT INTO {schema}.{TABLE} SELECT * FROM public.{TABLE}")
            cursor.execute(f"ALTER TABLE {schema}.{TABLE} ADD PRIMARY KEY (id)")
            cursor.execute(f"CREATE INDEX ON {schema}.{TABLE} (expires)")
            cursor.execute(f"CREATE TABLE {schema}.effect (id bigserial PRIMARY KEY, label text)")
        print("\nA first request with one index more than the primary key and the expiry, against one without it\n")
        print(f"{'index on':<16} {'size':>8} {'time':>7} {'CPU':>7} {'WAL':>7}   WAL, bytes a request")
        for name, columns in INDEXES.items():
            cursor.execute(f"CREATE INDEX more ON with_index.{TABLE} {columns}")
            cursor.execute("SELECT pg_size_pretty(pg_relation_size('with_index.more'))")
            (size,) = cursor.fetchone()
            cursor.execute("VACUUM ANALYZE")
            turns = [turn(cursor, number) for number in range(rounds)]
            time_ratio, cpu_ratio = (
                statistics.median(one / other for one, other in sides) for sides in zip(*turns, strict=True)
            )
            cursor.execute("CHECKPOINT")
            written = {schema: wal_bytes(cursor, schema) for schema in SIDES}
            print(
                f"{name:<16} {size:>8} {time_ratio:7.3f} {cpu_ratio:7.3f} "
                f"{written['with_index'] / written['without']:7.3f}   "
                f"{written['without']:,.0f} -> {written['with_index']:,.0f}",
                flush=True,
            )
            cursor.execute("DROP INDEX with_index.more")


def turn(cursor: Any, number: int, requests: int = 1_000) -> Sequence[tuple[float, float]]:
    """Return the time, and the server's time on the CPU, of as many requests on each side."""
    sides = {}
    for schema in reversed(SIDES) if number % 2 else SIDES:
        cursor.execute(f"SET search_path = {schema}, public")
        cursor.execute("SELECT pg_backend_pid()")
        (pid,) = cursor.fetchone()
        cpu, start = cpu_seconds(pid), time.perf_counter()
        for _ in range(requests):
            first_request(cursor)
        seconds = time.perf_counter() - start
        sides[schema] = (seconds, max(cpu_seconds(pid) - cpu, 0.01))
    return list(zip(*(sides[schema] for schema in SIDES), strict=True))


def wal_bytes(cursor: Any, schema: str, requests: int = 10_000) -> float:
    """Return how many bytes the statements on the keys' table write to the log, on average."""
    from django.db import connection

    written = 0

    def counted(execute: Callable[..., Any], sql: str, params: Any, many: bool, context: dict[str, Any]) -> Any:
        nonlocal written
        if TABLE not in sql:
            return execute(sql, params, many, context)
        # One row comes back, so that the caller sees one row changed.
        result = execute(f"EXPLAIN (ANALYZE, WAL, TIMING OFF, FORMAT JSON) {sql}", params, many, context)
        (plan,) = context["cursor"].fetchone()
        written += (json.loads(plan) if isinstance(plan, str) else plan)[0]["Plan"]["WAL Bytes"]
        return result

    cursor.execute(f"SET search_path = {schema}, public")
    with connection.execute_wrapper(counted):
        for _ in range(requests):
            first_request(cursor)
    return written / requests


def first_request(cursor: Any) -> None:
    from django_idempotency import store
    from django_idempotency.fingerprint import Fingerprint
    from django_idempotency.values import Operation, StoredResponse

    operation = Operation(
        namespace="http",
        scope=f"user:{1 + uuid.uuid4().int % USERS}",
        key=str(uuid.uuid4()),
        fingerprint=Fingerprint.of(b"{}"),
        ttl=timedelta(days=1),
        method="POST",
        path="/charges/",
    )
    headers = [("Content-Type", "application/json"), ("Location", "/charges/1234567/")]
    with store.claimed(operation) as claim:
        cursor.execute("INSERT INTO effect (label) VALUES ('charge')")
        claim.settle(StoredResponse(status=201, headers=headers, body=b'{"description": "%s"}' % (b"x" * 224)))


def cpu_seconds(pid: int) -> float:
    """Return how long the server's process has worked so far; 0 if it runs on another machine."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    main()
