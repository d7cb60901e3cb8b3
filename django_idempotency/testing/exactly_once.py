"""Let a request's worker die wherever it can, let the client retry, and count."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from django_idempotency.testing import verdicts
from django_idempotency.testing.answers import Answer
from django_idempotency.testing.deaths import Fate, Moment
from django_idempotency.testing.effects import Effects
from django_idempotency.testing.failures import NotExactlyOnce
from django_idempotency.testing.lines import SUPPORTED
from django_idempotency.testing.stages import Stage, staged
from django_idempotency.testing.verdicts import Trial
from django_idempotency.testing.workers import Send, Worker


@dataclass(frozen=True, slots=True, kw_only=True)
class ExactlyOnce:
    """What was tried: `statements` and `lines` that one request ran; `lines` is None where they were not tried."""

    statements: int
    lines: int | None
    reason: str = ""
    """Why lines were not tried."""

    @property
    def runs(self) -> int:
        """How many requests were interrupted."""
        return 3 * self.statements + (self.lines or 0)

    def __str__(self) -> str:
        statements = f"a death before, a death after and a failure of each of {self.statements} statements"
        if self.lines is None:
            return f"exactly once: {statements}; lines were not tried: {self.reason}"
        return f"exactly once: {statements}; a death at each of {self.lines} lines"


def assert_exactly_once(
    send: Send,
    *,
    effects: Effects,
    fresh: Callable[[], object] | None = None,
    lines: bool = True,
    patience: float = 5.0,
) -> ExactlyOnce:
    """Let the worker of a request die wherever it can, and see that the client's retries make it happen once.

    *send* takes a key, sends one request with it in this process, and returns the response. It is sent, and sent again.
    Then, each time from the same state of the databases: for every SQL statement of the request, the worker dies just
    before it, or just after it, or the database cancels it; for every line of the project's code (Python 3.12 and
    newer), the worker dies there. A dead worker's database sessions are really ended. Each time the client sends the
    same request again, for up to *patience* seconds while it is told to come again. Then *effects* must be those of
    one run, and one more retry must be answered with the same bytes, and change nothing.

    *effects* are querysets, collections, callables, in a list or by name. *fresh* is called before each run, to reset
    what is not in a database. Returns what was tried.

    Raises:
        NotExactlyOnce: An AssertionError that names the statement or the line, what was left behind, and why.
        UsageError: Called inside of a transaction; or the request runs no SQL here, or has none of the effects.
    """
    with staged(send, effects, fresh=fresh, patience=patience, lines=lines) as stage:
        model, answer, expected = _run_twice(stage)
        for fate in _fates(model):
            trial = _try(stage, fate)
            problem = verdicts.problem_of(trial, answer=answer, expected=expected)
            if problem:
                raise NotExactlyOnce(verdicts.explain(trial, problem, model=model, expected=expected, stage=stage))
        tried = stage.watch.is_on
        return ExactlyOnce(
            statements=len(model.statements),
            lines=len(model.lines) if tried else None,
            reason="" if tried else _reason_without_lines(lines),
        )


def _run_twice(stage: Stage) -> tuple[Worker, Answer, dict[str, object]]:
    # What is only done the first time, such as to fill a cache, would not be done when the worker is to die there.
    stage.only_run(stage.reset())
    key = stage.reset()
    model, answer = stage.only_run(key)
    verdicts.require_statements(model)
    expected = stage.amounts()
    retry = stage.request(key)
    now = stage.amounts()
    if now != expected:
        raise NotExactlyOnce(
            "The same request, sent twice with the same key, took effect twice.\n" + verdicts.compare(now, expected)
        )
    if difference := answer.difference(retry):
        raise NotExactlyOnce(f"The same request, sent twice with the same key, was not answered the same: {difference}")
    return model, answer, expected


def _fates(model: Worker) -> Iterator[Fate]:
    for statement in model.statements:
        for moment in (Moment.BEFORE, Moment.AFTER, Moment.REFUSED):
            yield Fate(moment=moment, statement=statement.number)
    for line in model.lines:
        yield Fate(moment=Moment.AT, line=line)


def _try(stage: Stage, fate: Fate) -> Trial:
    key = stage.reset()
    initial = stage.amounts()
    worker, first = stage.strike(key, fate)
    left = stage.amounts()
    try:
        retry = stage.insist(key)
        effects = stage.amounts()
        again = stage.request(key)
    except Exception as error:
        where = verdicts.spell(fate, worker)
        raise NotExactlyOnce(f"{where}\nThe retry raised {type(error).__name__}: {error}") from error
    return Trial(
        fate=fate,
        worker=worker,
        first=first,
        left={name: amount for name, amount in left.items() if amount != initial[name]},
        retry=retry,
        effects=effects,
        again=again,
        later_effects=stage.amounts(),
    )


def _reason_without_lines(asked_for: bool) -> str:
    if not asked_for:
        return "lines=False"
    return "no tool id of sys.monitoring is free" if SUPPORTED else "they need Python 3.12 (sys.monitoring)"
