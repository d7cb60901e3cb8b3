"""A job of Celery's, one of Django's and a message, each in steps; and a process that has workers die at them.

As a module, with the name of one of the three as its argument, it is that process. It forks a worker for each place
that one passes, which gets SIGKILL there, and prints the places by the numbers of the deliveries.
"""

from __future__ import annotations

import gc
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import django
from django.db import connections

from tests import server

# What becomes of a delivery whose worker has died.
AGAIN, RESUMED = "again", "resumed"

reach: Callable[[str], None] = lambda place: None  # noqa: E731 - replaced where a worker is to die


def work(operation: Any, number: str) -> str:
    """Order, charge at another system, which is the other database, and confirm."""
    from tests.app.views import effect

    def charge(key: str) -> None:
        reach("before the call")
        effect(f"{number} charge {key}", using="other")
        reach("after the call")

    operation.step("order", lambda: effect(f"{number} order"))
    operation.call("charge", charge)
    operation.step("confirm", lambda: effect(f"{number} confirm"))
    return number


def handle(number: str, *, operation: Any) -> None:
    """Process a message."""
    work(operation, number)


def deliver(door: str, number: str) -> Any:
    """Deliver once, as a queue or a broker does; return the result, or None of a message.

    Raises: RequestInProgress, or what Celery makes of it.
    """
    if door == "message":
        from django_idempotency.consumers import process_once

        process_once("dying", number, partial(handle, number), steps=True, lease=600, keep_arguments=True)
        return None
    # A queue's module is loaded when it is asked for: Django has one from 6.0 on.
    jobs: Any = import_module(f"tests.steps.dying_{door}")
    if door == "django":
        return jobs.perform(jobs.job.using(backend="deferring").enqueue(number))
    delivered = jobs.deliver(jobs.job, number, task_id=number)
    if isinstance(delivered.value, BaseException):
        raise delivered.value
    return delivered.value


def die_everywhere(door: str) -> dict[str, str]:
    """Have workers die at each place of a delivery; return the places, by the numbers of what was delivered."""
    process = subprocess.run(
        [sys.executable, "-m", "tests.steps.dying", door],
        cwd=server.ROOT,
        env=server.environment(Path(os.devnull)),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        check=True,
    )
    places: dict[str, str] = json.loads(process.stdout)
    return places


def watched(door: str, number: str, at: int | None, tell: Callable[[str], None]) -> None:
    """Deliver; at place number *at*, die; if that is None, tell all places."""
    from tests.checkout.fuse import Fuse, armed

    global reach  # noqa: PLW0603 - this process has one worker
    fuse = Fuse(tell=tell if at is not None else lambda place: None, at=at)
    reach = fuse.reach
    with armed(fuse):
        deliver(door, number)
    if at is None:
        tell(json.dumps(fuse.places))


def forked(door: str, number: str, at: int | None = None) -> str:
    """Do that in a process of its own; return what it has told."""
    reader, writer = os.pipe()
    pid = os.fork()
    if not pid:
        try:
            watched(door, number, at, lambda text: print(text, file=os.fdopen(writer, "w"), flush=True))
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as messages:
        told = messages.read().strip()
    status = os.waitpid(pid, 0)[1]
    assert os.WIFSIGNALED(status) == (at is not None), told
    assert at is None or os.WTERMSIG(status) == signal.SIGKILL
    return told


def queues_of(door: str) -> list[str]:
    return [] if door == "message" else [f"tests.steps.dying_{door}"]


def main(door: str) -> None:
    django.setup()
    for module in ("django_idempotency.consumers", "tests.app.views", "tests.checkout.fuse", *queues_of(door)):
        import_module(module)  # So that no worker has to.
    gc.freeze()  # Else each worker soon has copies of all that it shares with this process.
    places: list[str] = json.loads(forked(door, "whole"))
    # What is after one statement is before the next one.
    chosen = [at for at, place in enumerate(places) if "before" not in place or "commit" in place or "call" in place]
    # The doors take turns, so that each place is tried both ways.
    kinds = (RESUMED, AGAIN) if door == "message" else (AGAIN, RESUMED)
    numbers = {at: f"{kinds[turn % 2]}-{at}" for turn, at in enumerate(chosen)}
    died = {number: forked(door, number, at) for at, number in numbers.items()}
    assert not any(connection.connection for connection in connections.all(initialized_only=True))
    json.dump(died, sys.stdout)


if __name__ == "__main__":
    # What is kept has no name in `__main__`.
    import_module("tests.steps.dying").main(sys.argv[1])
