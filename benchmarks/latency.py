"""The same requests in process, with the database half a millisecond away: what counts are round trips."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from django.db import connection

from benchmarks import inprocess
from benchmarks.proxy import delayed
from benchmarks.results import Table
from benchmarks.scale import Scale

LATENCY: Final = 0.0005


def measure(scale: Scale) -> list[Table]:
    """Add the latency to each round trip, and let every side take its turns."""
    direct = round_trip()
    # The proxy itself takes a while, which is a part of the latency.
    with further_away(0.0):
        own = round_trip() - direct
    with further_away(max(LATENCY - own, 0.0)):
        added = round_trip() - direct
        return [
            inprocess.run(
                scale,
                title=f"In process, with {added * 1e3:.2f} ms more than {direct * 1e3:.2f} ms for each round trip",
            )
        ]


@contextmanager
def further_away(seconds: float) -> Iterator[None]:
    """Let this thread's connection pass the proxy."""
    settings = dict(connection.settings_dict)
    with delayed(server_address(), seconds) as port:
        connection.close()
        connection.settings_dict.update(HOST="127.0.0.1", PORT=port)
        try:
            yield
        finally:
            connection.close()
            connection.settings_dict.update(settings)


def server_address() -> str:
    """Return where the server really is: host:port, or the path of its socket."""
    connection.ensure_connection()
    info = connection.connection.info
    return f"{info.host}/.s.PGSQL.{info.port}" if info.host.startswith("/") else f"{info.host}:{info.port}"


def round_trip(times: int = 300) -> float:
    """Return the median seconds of a statement that takes the server no time."""
    with connection.cursor() as cursor:
        seconds = []
        for _ in range(times):
            started = time.perf_counter()
            cursor.execute("SELECT 1")
            seconds.append(time.perf_counter() - started)
    return statistics.median(seconds)
