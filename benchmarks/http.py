"""Requests over HTTP: gunicorn with two processes of four threads, and wrk with as many connections."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Final

from benchmarks.project.models import Payment
from benchmarks.project.sides import ATOMIC, BARE, sides
from benchmarks.results import Spread, Table
from benchmarks.rounds import interleaved
from benchmarks.scale import Scale
from benchmarks.server import Server, serving
from benchmarks.wrk import Load, fresh_prefix, key_of, load

CONNECTIONS: Final = 8


@dataclass(frozen=True, slots=True)
class Turn:
    first: Load
    replay: Load | None


def measure(scale: Scale) -> list[Table]:
    """Let every side make payments, and those that know keys replay some that it has made before."""
    with ExitStack() as stack:
        turns = {}
        for side in sides():
            server = stack.enter_context(serving(side))
            turns[side.name] = partial(take_turn, server, primed(server, scale), scale)
        measured = interleaved(turns, rounds=scale.http_rounds, warm_up=0)
    return [table(measured)]


def primed(server: Server, scale: Scale) -> str:
    """Have as many keys remembered as are replayed, and return their prefix."""
    prefix = fresh_prefix()
    for number in range(scale.replayed_keys if server.side.replays else 20):
        status = server.pay(key_of(prefix, number))
        assert status == 201, f"{server.side.name} answered {status}"
    return prefix


def take_turn(server: Server, prefix: str, scale: Scale) -> Turn:
    fresh = fresh_prefix()
    first = load(server.url, seconds=scale.http_seconds, connections=CONNECTIONS, prefix=fresh)
    assert_answered(server, first)
    # Those whose answers wrk did not wait for are made, too: on each connection one answered, and one begun.
    unread = payments(fresh) - first.requests
    assert 0 <= unread <= 2 * CONNECTIONS, f"{server.side.name}: {first}, and {unread} payments more"
    if not server.side.replays:
        return Turn(first, None)
    replay = load(
        server.url, seconds=scale.http_seconds, connections=CONNECTIONS, prefix=prefix, keys=scale.replayed_keys
    )
    assert_answered(server, replay)
    made = payments(prefix)
    assert made == scale.replayed_keys, f"{server.side.name} made {made} payments for {scale.replayed_keys} keys"
    return Turn(first, replay)


def payments(prefix: str) -> int:
    """Return how many there are under keys with this prefix."""
    return Payment.objects.filter(reference__startswith=f"order {prefix}").count()


def assert_answered(server: Server, answers: Load) -> None:
    assert answers.requests, f"{server.side.name} has not answered"
    assert not answers.refused + answers.failed, f"{server.side.name}: {answers}"


def table(measured: dict[str, list[Turn]]) -> Table:
    """Set each side beside the bare view's first request, bare and in `atomic()`, of the same round."""
    loads: dict[str, list[Load]] = {}
    for side in sides():
        turns = measured[side.name]
        name = side.label or side.name
        loads[f"{name}, first" if side.replays else name] = [turn.first for turn in turns]
        if side.replays:
            loads[f"{name}, replay"] = [turn.replay for turn in turns if turn.replay is not None]
    bare, atomic = ([turn.first for turn in measured[side.name]] for side in (BARE, ATOMIC))
    return Table(
        title="Over HTTP (gunicorn 2x4, wrk with 8 connections)",
        rows={
            name: {
                "requests/s": Spread.of(each.per_second for each in own),
                "p50 ms": Spread.of(each.p50 * 1e3 for each in own),
                "p99 ms": Spread.of(each.p99 * 1e3 for each in own),
                "speed / atomic": ratio(atomic, own),
                "speed / bare": ratio(bare, own),
            }
            for name, own in loads.items()
        },
    )


def ratio(base: list[Load], own: list[Load]) -> Spread:
    return Spread.of(other.per_second / one.per_second for one, other in zip(base, own, strict=True))
