"""The same beginning for every run, and what has come of it at the end."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext

from django_idempotency.exceptions import UsageError
from django_idempotency.testing.answers import Answer
from django_idempotency.testing.deaths import Fate
from django_idempotency.testing.effects import Effects, Gauge, gauges_of
from django_idempotency.testing.lines import LineWatch
from django_idempotency.testing.sessions import Sessions, require_commits
from django_idempotency.testing.snapshots import Snapshot
from django_idempotency.testing.workers import Send, Worker, code_of


class Stage:
    """Sends requests, each to a new worker, from one state of the databases; made by `staged`."""

    def __init__(
        self,
        send: Send,
        *,
        gauges: list[Gauge],
        snapshot: Snapshot,
        sessions: Sessions,
        watch: LineWatch,
        fresh: Callable[[], object] | None,
        patience: float,
    ) -> None:
        self._send = send
        self.gauges = gauges
        self.watch = watch
        self._snapshot = snapshot
        self._sessions = sessions
        self._fresh = fresh
        self._patience = patience

    def reset(self) -> str:
        """Put everything back, and return a new key."""
        self._snapshot.restore()
        if self._fresh is not None:
            self._fresh()
        for gauge in self.gauges:
            gauge.start()
        return str(uuid.uuid4())

    def worker(self, fate: Fate | None = None) -> Worker:
        """Return a new worker."""
        return Worker(self._sessions, self.watch, self.gauges, fate)

    def strike(self, key: str, fate: Fate) -> tuple[Worker, Answer | None]:
        """Send the request to a worker that meets *fate*; return it, and what it answered, if it did."""
        worker = self.worker(fate)
        return worker, worker.serve(self._send, key)

    def amounts(self) -> dict[str, object]:
        """Return what came of each effect since the reset."""
        return {gauge.name: gauge.amount() for gauge in self.gauges}

    def request(self, key: str) -> Answer:
        """Send the request to a worker that lives on, and return its answer."""
        answer = self.worker().serve(self._send, key)
        assert answer is not None  # noqa: S101 - nothing strikes a worker without a fate
        return answer

    def insist(self, key: str) -> Answer:
        """Send the request until it is answered otherwise than "come again", or patience ends."""
        deadline = time.monotonic() + self._patience
        while True:
            answer = self.request(key)
            if not answer.asks_to_come_again or time.monotonic() > deadline:
                return answer
            time.sleep(0.02)

    def only_run(self, key: str) -> tuple[Worker, Answer]:
        """Send the request once, and return its worker and its answer.

        Raises:
            UsageError: It has none of the effects, so that nothing could be told from them.
        """
        worker = self.worker()
        answer = worker.serve(self._send, key)
        assert answer is not None  # noqa: S101 - nothing strikes a worker without a fate
        if all(gauge.is_untouched for gauge in self.gauges):
            raise UsageError(
                f"The request, answered {answer.status} {answer.excerpt}, had none of the effects that are counted: "
                f"{', '.join(gauge.name for gauge in self.gauges)}. Let send(key) make a request that succeeds, and "
                "name in `effects` what it does."
            )
        return worker, answer


@contextmanager
def staged(
    send: Send,
    effects: Effects,
    *,
    fresh: Callable[[], object] | None,
    patience: float,
    lines: bool = False,
) -> Iterator[Stage]:
    """Yield a stage, and leave the databases as they were.

    Raises:
        UsageError: Called inside of a transaction, in which nothing is committed and no worker can die.
    """
    aliases = require_commits()
    snapshot = Snapshot(aliases)
    watch = LineWatch(client=code_of(send))
    with Sessions(aliases) as sessions, watch if lines else nullcontext():
        stage = Stage(
            send,
            gauges=gauges_of(effects),
            snapshot=snapshot,
            sessions=sessions,
            watch=watch,
            fresh=fresh,
            patience=patience,
        )
        try:
            yield stage
        finally:
            snapshot.restore()
