"""What the pages say of an operation of several steps: its state, its steps, and what somebody has to settle."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from uuid import UUID

from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from django_idempotency import store
from django_idempotency.admin.details import Event
from django_idempotency.admin.states import FAILED, UNCERTAIN, UNFINISHED, State
from django_idempotency.models import IdempotentRun, IdempotentStep

if TYPE_CHECKING:
    from django_idempotency.models import IdempotencyKey

_WORDS = {
    IdempotentStep.State.PERMITTED: gettext_lazy("Permitted; it may have happened"),
    IdempotentStep.State.DONE: gettext_lazy("Done"),
    IdempotentStep.State.UNDOING: gettext_lazy("Undo permitted; it may have happened"),
    IdempotentStep.State.UNDONE: gettext_lazy("Undone"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownStep:
    """A step as a row of a table."""

    step: IdempotentStep
    state: str
    is_uncertain: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownRun:
    """An operation as a section of its key's page."""

    run: IdempotentRun
    steps: list[ShownStep]
    is_abandoned: bool
    keeps_request: bool


def states_of(keys: Iterable[IdempotencyKey]) -> dict[UUID, State]:
    """Return the states of those *keys* whose operation was begun, and has not ended, and that nobody is at."""
    unfinished = [key.pk for key in keys if key.completed is None]
    if not unfinished:
        return {}
    runs = IdempotentRun.objects.using(store.database()).filter(key_id__in=unfinished)
    abandoned = runs.abandoned().values_list("key_id", "state")
    uncertain = set(runs.uncertain().values_list("key_id", flat=True))
    return {key_id: _state(state, is_uncertain=key_id in uncertain) for key_id, state in abandoned}


def shown_run(key: IdempotencyKey) -> ShownRun | None:
    """Return the operation of several steps that *key* belongs to, or None if it has one transaction."""
    runs = IdempotentRun.objects.using(store.database()).filter(key_id=key.pk)
    run = runs.first()
    if run is None:
        return None
    steps = [
        ShownStep(step=step, state=str(_WORDS[IdempotentStep.State(step.state)]), is_uncertain=_is_uncertain(step))
        for step in run.steps.order_by("position")
    ]
    return ShownRun(run=run, steps=steps, is_abandoned=runs.abandoned().exists(), keeps_request=bool(run.request))


def events_of(shown: ShownRun) -> Iterator[Event]:
    """Return what has happened in the operation, for the time line."""
    for each in shown.steps:
        note = _("attempt %(number)s") % {"number": each.step.attempt}
        what = f"{each.step.name}: {each.state}"
        yield Event(time=each.step.finished or each.step.started, what=what, note=note)


def _state(state: Any, *, is_uncertain: bool) -> State:
    if is_uncertain:
        return UNCERTAIN
    return FAILED if state == IdempotentRun.State.FAILED else UNFINISHED


def _is_uncertain(step: IdempotentStep) -> bool:
    return step.state in {IdempotentStep.State.PERMITTED, IdempotentStep.State.UNDOING}
