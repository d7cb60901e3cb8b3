"""Many clients at once: on keys of their own, and all on one."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Final

from django.db import transaction
from django.test import Client

from benchmarks.http import payments
from benchmarks.payment import payment
from benchmarks.project.sides import ATOMIC, OURS, Side
from benchmarks.results import Spread, Table
from benchmarks.rounds import interleaved
from benchmarks.scale import Scale
from benchmarks.server import Server, serving
from benchmarks.wrk import Load, fresh_prefix, key_of, load

BASE: Final = "bare in atomic()"


def measure(scale: Scale) -> list[Table]:
    """Let each case take its turn in every round, on a server that has a thread for each client."""
    cases: dict[str, Callable[[], Load]] = {
        BASE: partial(on_server, ATOMIC, distinct_keys, scale),
        "first, each client on keys of its own": partial(on_server, OURS, distinct_keys, scale),
        "replay, all clients on one key": partial(on_server, OURS, replayed_key, scale),
        "refusal, all clients on one key in progress": partial(on_server, OURS, key_in_progress, scale),
        "all clients on one key, then on the next": partial(on_server, OURS, hot_keys, scale),
    }
    measured = interleaved(cases, rounds=scale.long_rounds, warm_up=0)
    base = measured[BASE]
    return [
        Table(
            title=f"{scale.clients} clients (gunicorn 2x{scale.clients // 2}, wrk)",
            rows={
                name: {
                    "requests/s": Spread.of(load.per_second for load in loads),
                    "p50 ms": Spread.of(load.p50 * 1e3 for load in loads),
                    "p99 ms": Spread.of(load.p99 * 1e3 for load in loads),
                    "refused": Spread.of(load.refused / load.requests for load in loads),
                    "speed / atomic": Spread.of(
                        one.per_second / other.per_second for one, other in zip(loads, base, strict=True)
                    ),
                }
                for name, loads in measured.items()
            },
        )
    ]


def on_server(side: Side, case: Callable[[Server, Scale], Load], scale: Scale) -> Load:
    """Measure on a server of its own, which is gone afterwards, and with it its database connections."""
    with serving(side, threads=scale.clients // 2) as server:
        server.pay(key_of(fresh_prefix(), 0))  # Once it has started.
        # Each thread makes its connection.
        load(server.url, seconds=1, connections=scale.clients, prefix=fresh_prefix())
        answers = case(server, scale)
    assert answers.requests, "no answer came"
    assert not answers.failed, answers
    return answers


def distinct_keys(server: Server, scale: Scale) -> Load:
    prefix = fresh_prefix()
    answers = load(server.url, seconds=scale.seconds, connections=scale.clients, prefix=prefix)
    assert not answers.refused, answers
    made = payments(prefix)
    assert answers.requests <= made <= answers.requests + 2 * scale.clients, f"{made} payments: {answers}"
    return answers


def replayed_key(server: Server, scale: Scale) -> Load:
    prefix = fresh_prefix()
    server.pay(key_of(prefix, 0))
    answers = load(server.url, seconds=scale.seconds, connections=scale.clients, prefix=prefix, keys=1)
    assert not answers.refused, answers
    assert payments(prefix) == 1, "a replay made a payment"
    return answers


def key_in_progress(server: Server, scale: Scale) -> Load:
    prefix = fresh_prefix()
    with transaction.atomic():
        # A first request that has not committed. This client leaves the connection open, unlike a server.
        key = key_of(prefix, 0)
        first = Client().post(OURS.path, payment(key), "application/json", headers={"Idempotency-Key": key})
        assert first.status_code == 201, first
        answers = load(server.url, seconds=scale.seconds, connections=scale.clients, prefix=prefix, keys=1)
    assert answers.refused == answers.requests, answers
    assert payments(prefix) == 1, "a refused request made a payment"
    return answers


def hot_keys(server: Server, scale: Scale) -> Load:
    """Send each key from all clients at about the same time."""
    prefix = fresh_prefix()
    answers = load(
        server.url, seconds=scale.seconds, connections=scale.clients, prefix=prefix, repeats=scale.clients, threads=1
    )
    made, keys = payments(prefix), answers.requests // scale.clients
    assert keys <= made <= keys + 3, f"{made} payments for {keys} keys: {answers}"
    return answers
