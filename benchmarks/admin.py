"""The admin page with two million keys, on PostgreSQL.

Times are those of whole requests, from Django's test client: session, user, queries and templates included.
"""

from __future__ import annotations

import time
from functools import partial
from typing import Final

from django.conf import settings
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client, override_settings

from benchmarks.database import backend_pid
from benchmarks.filling import USERS, fill
from benchmarks.results import Figure, Spread, Table
from benchmarks.rounds import Stopwatch
from benchmarks.scale import Scale
from django_idempotency.models import IdempotencyKey
from django_idempotency.values import digests_of

ADDRESS: Final = "/admin/django_idempotency/idempotencykey/"


def measure(scale: Scale) -> list[Table]:
    """Visit each page once, then as often as there are rounds."""
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO auth_user (id, username, password, is_superuser, is_staff, is_active, date_joined, "
            "first_name, last_name, email) SELECT n, 'customer' || n, '', false, false, true, now(), '', '', '' "
            f"FROM generate_series(2, {USERS}) AS n"
        )
        fill(cursor, scale.admin_rows)
        cursor.execute("VACUUM ANALYZE")
    with override_settings(MIDDLEWARE=settings.ADMIN_MIDDLEWARE):
        client = Client()
        client.force_login(User.objects.get(pk=1))
        stopwatch = Stopwatch(pid=backend_pid())
        rows = {
            name: visited(client, address, scale.rounds, stopwatch) | {"goal, ms": str(goal)}
            for name, (address, goal) in pages(scale.admin_rows).items()
        }
    return [Table(title=f"The admin's pages, with {scale.admin_rows:,} keys", rows=rows)]


def visited(client: Client, address: str, times: int, stopwatch: Stopwatch) -> dict[str, Figure]:
    walls: list[float] = []

    def visit() -> None:
        started = time.perf_counter()
        response = client.get(ADDRESS + address)
        walls.append(time.perf_counter() - started)
        assert response.status_code == 200, f"{address} answered {response.status_code}"

    visit()
    walls.clear()
    cost = stopwatch.cost([partial(visit) for _ in range(times)])
    return {"ms": Spread.of(wall * 1e3 for wall in walls), "CPU ms": cost.cpu * 1e3}


def pages(rows: int) -> dict[str, tuple[str, int]]:
    """Return the pages' addresses, and the milliseconds that each may take."""
    keys = IdempotencyKey.objects.defer("body")
    somewhere = rows // 200
    middle = keys.filter(scope__startswith="user:").order_by("-expires")[somewhere]
    least, greatest = digests_of(middle.key)
    assert least <= middle.pk <= greatest, "the rows are not under their digests"
    unowned = keys.filter(scope="anonymous").order_by("-expires")[somewhere]
    with_body = keys.filter(status=201).order_by("expires")[0]
    return {
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
        "key, of the first to expire": (f"{with_body.pk}/change/", 50),
        "key, in the scope of one in ten": (f"{unowned.pk}/change/", 50),
        "download": (f"{middle.pk}/response/", 50),
    }
