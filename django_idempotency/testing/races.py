"""Let several clients send the same request at once, and count."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Final

from django.db import connections

from django_idempotency.exceptions import UsageError
from django_idempotency.testing.answers import Answer
from django_idempotency.testing.effects import Effects
from django_idempotency.testing.failures import NotExactlyOnce
from django_idempotency.testing.lockstep import Lockstep
from django_idempotency.testing.sessions import require_threads
from django_idempotency.testing.stages import Stage, staged
from django_idempotency.testing.verdicts import compare
from django_idempotency.testing.workers import Send

# How long, in seconds, threads wait for each other to begin.
_BEGIN_TIMEOUT: Final = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Race:
    """What the clients were answered: in step, and then freely, one answer each."""

    answers: Sequence[Answer]

    @property
    def refused(self) -> int:
        """How many were told to come again."""
        return sum(answer.asks_to_come_again for answer in self.answers)

    def __str__(self) -> str:
        return f"exactly once: {len(self.answers)} requests in 2 races, of which {self.refused} were told to come again"


def race(
    send: Send,
    n: int = 8,
    *,
    effects: Effects,
    fresh: Callable[[], object] | None = None,
    patience: float = 5.0,
) -> Race:
    """Let *n* threads, each with connections of its own, send the same request at once, and see it happen once.

    Twice, each time from the same state of the databases: in step first, so that all have run their first statement
    before one runs its second, as far as locks let them; then freely. Each client is to be answered with the same
    2xx response, byte for byte, or told to come again. Those then do, for up to *patience* seconds. *effects* must be
    those of one run. *send* is called by *n* threads: let it make its own client.

    Raises:
        NotExactlyOnce: An AssertionError that says what was counted or answered.
        UsageError: Called inside of a transaction; on SQLite in memory; or the request has none of the effects.
    """
    if n < 2:
        raise UsageError(f"A race takes at least 2 clients, not {n}. Pass how many send the request at once.")
    require_threads()
    with staged(send, effects, fresh=fresh, patience=patience) as stage:
        stage.only_run(stage.reset())
        expected = stage.amounts()
        answers: list[Answer] = []
        for lockstep in (Lockstep(n), None):
            answers += _race_once(stage, send, n, lockstep, expected)
        return Race(answers=answers)


def _race_once(
    stage: Stage, send: Send, n: int, lockstep: Lockstep | None, expected: dict[str, object]
) -> list[Answer]:
    key = stage.reset()
    outcomes = _outcomes(send, key, n, lockstep)
    answers: list[Answer] = []
    for outcome in outcomes:
        if isinstance(outcome, Exception):
            raise NotExactlyOnce(f"A client of {n} got no answer: {type(outcome).__name__}: {outcome}") from outcome
        if not outcome.succeeded and not outcome.asks_to_come_again:
            raise NotExactlyOnce(f"A client of {n} was answered {outcome.status}: {outcome.excerpt}")
        answers.append(outcome)
    last = stage.insist(key)
    effects = stage.amounts()
    if effects != expected:
        raise NotExactlyOnce(
            f"{n} clients sent the same request at once, and it did not happen once:\n{compare(effects, expected)}\n"
            "Why: nothing lets only one of them in. Claim the key, by a unique row, before the effects and in their "
            "transaction."
        )
    for answer in answers:
        if answer.succeeded and (difference := last.difference(answer)):
            raise NotExactlyOnce(f"Two of {n} clients got different answers to the same request: {difference}")
    if not last.succeeded:
        raise NotExactlyOnce(f"After the race, the request was answered {last.status}: {last.excerpt}")
    return answers


def _outcomes(send: Send, key: str, n: int, lockstep: Lockstep | None) -> list[Answer | Exception]:
    start = threading.Barrier(n, timeout=_BEGIN_TIMEOUT)

    def client(_: int) -> Answer | Exception:
        try:
            start.wait()
            return Answer.of(send(key))
        except Exception as error:  # noqa: BLE001 - told to the caller
            return error
        finally:
            if lockstep is not None:
                lockstep.release()
            connections.close_all()

    with lockstep.watching() if lockstep is not None else nullcontext(), ThreadPoolExecutor(n) as executor:
        return list(executor.map(client, range(n)))
