"""Requests in one thread, through the WSGI handler: what each package adds to a request."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from io import BytesIO
from typing import Any

from django.core.handlers.wsgi import WSGIHandler
from django.db import connection
from django.test import override_settings

from benchmarks.database import backend_pid
from benchmarks.payment import payment
from benchmarks.project.models import Payment
from benchmarks.project.sides import ATOMIC, BARE, Side, sides
from benchmarks.results import Spread, Table
from benchmarks.rounds import Cost, Stopwatch, interleaved
from benchmarks.scale import Scale

FIRST, REPLAY = "first", "replay"


@dataclass(frozen=True, slots=True)
class Turn:
    """What a request of one side cost in one round."""

    first: Cost
    replay: Cost | None


class Client:
    """Send requests to one side, and make sure that they do what they are measured for."""

    def __init__(self, side: Side) -> None:
        self.side = side
        with override_settings(MIDDLEWARE=list(side.middleware)):
            self.handler = WSGIHandler()

    def take_turn(self, stopwatch: Stopwatch, requests: int) -> Turn:
        """Make so many payments, then replay them, if the side knows keys."""
        if connection.vendor == "postgresql":
            options = connection.settings_dict["OPTIONS"]
            options.pop("prepare_threshold", None)
            options.update({} if self.side.prepares else {"prepare_threshold": None})
        keys = [str(uuid.uuid4()) for _ in range(requests)]
        first = self.first(stopwatch, keys)
        return Turn(first, self.replay(stopwatch, keys) if self.side.replays else None)

    def first(self, stopwatch: Stopwatch, keys: Sequence[str]) -> Cost:
        before = Payment.objects.count()
        cost = self.send(stopwatch, keys)
        assert Payment.objects.count() == before + len(keys), f"{self.side.name} did not make each payment once"
        return cost

    def replay(self, stopwatch: Stopwatch, keys: Sequence[str]) -> Cost:
        before = Payment.objects.count()
        cost = self.send(stopwatch, keys)
        assert Payment.objects.count() == before, f"{self.side.name} made payments anew instead of replaying"
        return cost

    def send(self, stopwatch: Stopwatch, keys: Sequence[str]) -> Cost:
        statuses: list[int] = []
        requests = [partial(self.answer, environ(self.side.path, key), statuses) for key in keys]
        cost = stopwatch.cost(requests)
        assert set(statuses) == {201}, f"{self.side.name} answered {set(statuses)}"
        return cost

    def answer(self, environ: dict[str, Any], statuses: list[int]) -> None:
        response = self.handler(environ, start_response)
        b"".join(response)
        response.close()
        statuses.append(response.status_code)


def start_response(status: str, headers: list[tuple[str, str]], exc_info: object = None) -> None:
    """Do what a server does, but for sending."""


def environ(path: str, key: str) -> dict[str, Any]:
    """Return one request as a server hands it over: a payment, under a key that nobody else has."""
    body = payment(key)
    return {
        "REQUEST_METHOD": "POST",
        "PATH_INFO": path,
        "SCRIPT_NAME": "",
        "QUERY_STRING": "",
        "SERVER_NAME": "localhost",
        "SERVER_PORT": "80",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "REMOTE_ADDR": "127.0.0.1",
        "CONTENT_TYPE": "application/json",
        "CONTENT_LENGTH": str(len(body)),
        "HTTP_HOST": "localhost",
        "HTTP_ACCEPT": "application/json",
        "HTTP_IDEMPOTENCY_KEY": key,
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "http",
        "wsgi.input": BytesIO(body),
        "wsgi.errors": BytesIO(),
        "wsgi.multithread": False,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
    }


def measure(scale: Scale) -> list[Table]:
    return [run(scale, title="In process")]


def run(scale: Scale, *, title: str) -> Table:
    """Let every side make payments, then those that know keys replay them."""
    stopwatch = Stopwatch(pid=backend_pid())
    turns = {side.name: partial(Client(side).take_turn, stopwatch, scale.requests) for side in sides()}
    return table(interleaved(turns, rounds=scale.rounds), title=title)


def table(measured: dict[str, list[Turn]], *, title: str) -> Table:
    """Set each side beside the bare view's first request, bare and in `atomic()`, of the same round."""
    costs: dict[str, list[Cost]] = {}
    for side in sides():
        turns = measured[side.name]
        costs[f"{side.label or side.name}, {FIRST}" if side.replays else side.label or side.name] = [
            turn.first for turn in turns
        ]
        if side.replays:
            costs[f"{side.label or side.name}, {REPLAY}"] = [turn.replay for turn in turns if turn.replay is not None]
    bare, atomic = ([turn.first for turn in measured[side.name]] for side in (BARE, ATOMIC))
    return Table(
        title=title,
        rows={
            name: {
                "ms": Spread.of(cost.wall * 1e3 for cost in own),
                "CPU ms": Spread.of(cost.cpu * 1e3 for cost in own),
                "speed / atomic": ratio(atomic, own, "wall"),
                "CPU speed / atomic": ratio(atomic, own, "cpu"),
                "speed / bare": ratio(bare, own, "wall"),
            }
            for name, own in costs.items()
        },
    )


def ratio(base: list[Cost], own: list[Cost], what: str) -> Spread:
    """Return the speed of *own* in terms of *base*: above 1, it is faster."""
    return Spread.of(getattr(one, what) / getattr(other, what) for one, other in zip(base, own, strict=True))
