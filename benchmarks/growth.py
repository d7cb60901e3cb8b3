"""What a request costs when there are many keys, and what a key costs on disk; on PostgreSQL."""

from __future__ import annotations

import shutil
import sys
import uuid
from functools import partial
from pathlib import Path
from typing import Final

from django.apps import apps
from django.db import connection
from django.test import Client as DjangoClient

from benchmarks.database import backend_pid
from benchmarks.filling import TABLE, copy_empty, copy_indexes, fill
from benchmarks.inprocess import Client, Turn, ratio
from benchmarks.payment import payment
from benchmarks.project.sides import ATOMIC, OURS, Side, sides
from benchmarks.results import Figure, Spread, Table
from benchmarks.rounds import Stopwatch, interleaved
from benchmarks.scale import Scale

# What a row with its indexes takes, and as much again for what filling a table writes on the way.
BYTES_A_ROW: Final = 2_000


def measure(scale: Scale) -> list[Table]:
    return [sizes(scale), growth(scale)]


def growth(scale: Scale) -> Table:
    """Let tables of different sizes take turns; a replay is one of a key of the same turn."""
    make_room(sum(scale.growth_rows))
    names = {rows: f"keys_{rows}" for rows in scale.growth_rows}
    with connection.cursor() as cursor:
        for rows, schema in names.items():
            print(f"filling {rows:,} keys …", file=sys.stderr, flush=True)
            copy_empty(cursor, schema)
            fill(cursor, rows, table=f"{schema}.{TABLE}")
            copy_indexes(cursor, schema)
        cursor.execute("CHECKPOINT")
    stopwatch = Stopwatch(pid=backend_pid())
    turns = {schema: partial(take_turn, Client(OURS), stopwatch, schema, scale) for schema in names.values()}
    turns["bare"] = partial(take_turn, Client(ATOMIC), stopwatch, "public", scale)
    measured = interleaved(turns, rounds=scale.rounds)
    with connection.cursor() as cursor:
        cursor.execute("SET search_path = public")
    smallest = measured[names[scale.growth_rows[0]]]
    return Table(
        title="In process, by the number of stored keys",
        rows={
            "bare in atomic()": costs(measured["bare"], smallest, measured["bare"]),
            **{f"{rows:,} keys": costs(measured[name], smallest, measured["bare"]) for rows, name in names.items()},
        },
    )


def make_room(rows: int) -> None:
    """Refuse to fill the disk, where it is this machine's."""
    with connection.cursor() as cursor:
        cursor.execute("SHOW data_directory")
        directory = Path(cursor.fetchone()[0])
    if directory.exists():
        free = shutil.disk_usage(directory).free
        needed = rows * BYTES_A_ROW
        assert free > needed, f"{directory} has {free / 1e9:.0f} GB free; {rows:,} keys need {needed / 1e9:.0f}"


def take_turn(client: Client, stopwatch: Stopwatch, schema: str, scale: Scale) -> Turn:
    with connection.cursor() as cursor:
        cursor.execute(f"SET search_path = {schema}, public")
    return client.take_turn(stopwatch, scale.requests)


def costs(own: list[Turn], smallest: list[Turn], bare: list[Turn]) -> dict[str, Figure]:
    """Set the cost of a table beside the smallest one's: above 1, it is slower."""
    first = [turn.first for turn in own]
    figures: dict[str, Figure] = {
        "first, ms": Spread.of(cost.wall * 1e3 for cost in first),
        "speed / atomic": ratio([turn.first for turn in bare], first, "wall"),
    }
    replay = [turn.replay for turn in own if turn.replay]
    if replay:
        least = [turn.replay for turn in smallest if turn.replay]
        figures |= {
            "time / least keys": ratio(first, [turn.first for turn in smallest], "wall"),
            "CPU / least keys": ratio(first, [turn.first for turn in smallest], "cpu"),
            "replay, ms": Spread.of(cost.wall * 1e3 for cost in replay),
            "replay, time / least keys": ratio(replay, least, "wall"),
            "replay, CPU / least keys": ratio(replay, least, "cpu"),
        }
    return figures


def sizes(scale: Scale) -> Table:
    """Let each side remember as many keys, and look at its tables."""
    rows: dict[str, dict[str, Figure]] = {}
    for side in sides():
        if side.replays and side.prepares:
            before = bytes_on_disk(tables_of(side))
            Client(side).take_turn(Stopwatch(), scale.sized_keys)
            rows[side.name] = bytes_a_key(side, scale.sized_keys, before)
    return Table(title="Bytes on disk for each key", rows=rows)


def bytes_a_key(side: Side, keys: int, before: tuple[int, int]) -> dict[str, Figure]:
    tables = tables_of(side)
    whole, indexes = ((now - then) / keys for now, then in zip(bytes_on_disk(tables), before, strict=True))
    with connection.cursor() as cursor:
        for table in tables:
            cursor.execute(f'VACUUM FULL "{table}"')
    packed = (bytes_on_disk(tables)[0] - before[0]) / keys
    own = payload()
    return {
        "payload": own,
        "on disk": whole,
        "of these, indexes": indexes,
        "after VACUUM FULL": packed,
        "on disk / payload": whole / own,
    }


def payload() -> int:
    """Return how many bytes there is no way not to keep: the key's, and its response's."""
    key = str(uuid.uuid4())
    response = DjangoClient().post(OURS.path, payment(key), "application/json", headers={"Idempotency-Key": key})
    return len(key) + len(response.content)


def tables_of(side: Side) -> list[str]:
    return [model._meta.db_table for model in apps.get_app_config(side.app).get_models()]


def bytes_on_disk(tables: list[str]) -> tuple[int, int]:
    """Return what they take, with all that belongs to them, and their indexes alone."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT sum(pg_total_relation_size(oid)), sum(pg_indexes_size(oid)) FROM pg_class WHERE relname = ANY(%s)",
            [tables],
        )
        whole, indexes = cursor.fetchone()
        return int(whole), int(indexes)
