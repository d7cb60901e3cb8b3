"""What is wrong after a death, and why: from what was left, and from what the request was seen to do."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from django_idempotency.exceptions import UsageError
from django_idempotency.testing.answers import Answer
from django_idempotency.testing.deaths import Change, Fate, Moment, Statement
from django_idempotency.testing.effects import Gauge
from django_idempotency.testing.stages import Stage
from django_idempotency.testing.workers import Worker

_KEYS: Final = "django_idempotency_idempotencykey"


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """One death, and what came after: what was left behind, the retry's answer and the effects, and once more."""

    fate: Fate
    worker: Worker
    first: Answer | None
    left: Mapping[str, object]
    retry: Answer
    effects: Mapping[str, object]
    again: Answer
    later_effects: Mapping[str, object]


def require_statements(model: Worker) -> None:
    """Refuse a request that is answered where no worker of ours can die.

    Raises:
        UsageError: No statement was seen.
    """
    if not model.statements:
        raise UsageError(
            "send(key) ran no SQL statement in this process, so that no worker could die at one. Send the request with "
            "django.test.Client. To test a server in another process, use idempotency_conformance, or "
            "python -m django_idempotency.testing URL."
        )


def problem_of(trial: Trial, *, answer: Answer, expected: Mapping[str, object]) -> str:
    """Say what is wrong; empty when all is as if the request had been sent once."""
    if trial.effects != expected:
        return f"The retry was answered {trial.retry.status}. Then:\n{compare(trial.effects, expected)}"
    if trial.retry.status != answer.status:
        return f"The retry was answered {trial.retry.status} instead of {answer.status}: {trial.retry.excerpt}"
    if difference := trial.retry.difference(trial.again):
        return f"The second retry was not answered as the first one was: {difference}"
    if trial.later_effects != expected:
        return f"The second retry took effect:\n{compare(trial.later_effects, expected)}"
    if trial.first is not None and trial.first.succeeded and (difference := trial.first.difference(trial.retry)):
        return f"The retry was not answered as the request before it was: {difference}"
    return ""


def compare(found: Mapping[str, object], expected: Mapping[str, object]) -> str:
    """Name the effects that differ, one a line."""
    return "\n".join(
        f"    {name}: {found[name]!r} instead of {expected[name]!r}"
        for name in expected
        if found[name] != expected[name]
    )


def spell(fate: Fate, worker: Worker) -> str:
    """Say where the worker died."""
    if worker.struck is None:
        return "The request ran other statements or lines than the first time, and was not interrupted."
    return f"{fate.moment.value} {worker.struck}"


def explain(trial: Trial, problem: str, *, model: Worker, expected: Mapping[str, object], stage: Stage) -> str:
    """Return the whole message: where, what was left behind, what is wrong, why."""
    left = ", ".join(f"{name}: {amount!r}" for name, amount in trial.left.items()) or "nothing"
    wrong = [gauge for gauge in stage.gauges if trial.effects[gauge.name] != expected[gauge.name]]
    return "\n".join(
        [
            spell(trial.fate, trial.worker),
            f"Left behind before the retry: {left}.",
            problem,
            *(f"Why: {cause}" for cause in dict.fromkeys(_causes(trial, model, wrong))),
        ]
    )


def _causes(trial: Trial, model: Worker, wrong: list[Gauge]) -> Iterator[str]:
    causes = [cause for gauge in wrong for cause in _causes_of(gauge, model)]
    if trial.fate.moment is Moment.REFUSED and trial.first is not None and trial.first.succeeded and not causes:
        yield (
            f"The request went on after this statement had failed, and was answered {trial.first.status}: an exception "
            "was swallowed. Let it propagate, so that nothing is kept, or return a status that is not stored."
        )
        return
    yield from causes or _causes_in(model)


def _causes_of(gauge: Gauge, model: Worker) -> Iterator[str]:
    for change in model.changes:
        if change.gauge == gauge.name:
            yield _cause_in_memory(change)
    for statement in model.statements:
        if statement.writes and any(_table_of(statement) in sql for _, sql in gauge.reads):
            yield from _cause_in_database(statement, model)


def _cause_in_memory(change: Change) -> str:
    after = "before the first statement" if change.after is None else f"after {change.after.brief}"
    if change.in_commit_hook:
        return f"{change.gauge} changed in an on_commit hook, {after}. {_HOOK}"
    if change.thread:
        return f"{change.gauge} changed in the thread {change.thread!r}, {after}. {_THREAD}"
    return (
        f"{change.gauge} changed {after}: an outside call. No rollback takes it back, and each run repeats it. Write "
        "down in the transaction what is to be done (an outbox, a job), or make it a step with a key of its own."
    )


_HOOK: Final = (
    "A worker that dies between COMMIT and the hook never runs it, and a replay does not, either. Write down in the "
    "transaction what is to be done (an outbox, a job)."
)
_THREAD: Final = (
    "A thread has a connection and a transaction of its own: what it writes is kept or lost without the key. Write it "
    "in the handler, or write down there what is to be done."
)


def _cause_in_database(statement: Statement, model: Worker) -> Iterator[str]:
    key = next((each for each in model.statements if each.writes and _KEYS in each.sql), None)
    if statement.thread:
        yield f"{statement.brief} is written in the thread {statement.thread!r}. {_THREAD}"
    elif statement.in_commit_hook:
        yield f"{statement.brief} is written in an on_commit hook. {_HOOK}"
    elif key is not None and statement.alias != key.alias:
        yield (
            f"{statement.brief} is a write on the alias {statement.alias!r}, the key is on {key.alias!r}: no "
            "transaction spans both. Write to one of them, or name the alias with `using=`."
        )
    elif statement.transaction is None:
        yield (
            f"{statement.brief} is written in autocommit: it is kept at once, whatever becomes of the request. Write "
            "it in the transaction that keeps the key."
        )


def _causes_in(model: Worker) -> Iterator[str]:
    """Name what lets a part of the request be kept without the rest."""
    writes = [each for each in model.statements if each.writes]
    commits = [each for each in model.statements if each.sql.upper().startswith("COMMIT")]
    last = writes[-1].number if writes else 0
    if early := [each for each in commits if each.number < last]:
        yield (
            f"{early[0].brief} ends a transaction in the middle of the request: what was written before it is kept "
            "without what comes after. Keep the effects, the key and the answer in one transaction."
        )
    elif any(each.transaction is None for each in writes):
        yield "The request writes in autocommit. Keep the effects, the key and the answer in one transaction."
    else:
        yield (
            "The effects, the key and the answer are not kept or lost together. Keep them in one transaction: what is "
            "in a cache, a file or another system is in none."
        )


def _table_of(statement: Statement) -> str:
    """Return the table that a write names: `INSERT INTO "shop_charge" …`, `UPDATE "shop_charge" …`."""
    words = [word for word in statement.sql.split() if word.upper() not in _VERBS]
    return words[0].strip('"`') if words else ""


_VERBS: Final = frozenset({"INSERT", "INTO", "IGNORE", "UPDATE", "DELETE", "FROM", "REPLACE", "OR", "ONLY"})
