"""What an operation has done so far, in the order in which its handler asks for it."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from django.core.serializers.json import DjangoJSONEncoder
from django.utils import timezone

from django_idempotency import phases
from django_idempotency.exceptions import OutcomeUncertain, StepsChanged, UsageError
from django_idempotency.leases import Lease, StepRecord
from django_idempotency.models import IdempotentStep
from django_idempotency.values import STEP_NAME_MAX_LENGTH


class Unwind(Exception):
    """The operation is being undone, and all that there is to undo is known: do not go on."""


class Journal:
    """The steps of one attempt: first those that are recorded, then new ones.

    What has failed for good stays in `failure`: no further step runs, whatever the handler does with the exception.
    """

    def __init__(self, lease: Lease) -> None:
        self.lease = lease
        self.failure: BaseException | None = None
        self._failed_step: BaseException | None = None
        self._records = list(lease.steps)
        self._names: set[str] = set()
        self._undos: dict[int, tuple[Callable[..., Any], bool]] = {}

    @property
    def position(self) -> int:
        """How many steps the handler has asked for."""
        return len(self._names)

    def child_key(self, name: str) -> str:
        """Return the key for a call of this *name*: the same in each attempt, and known to nobody beforehand."""
        return child_key(self.lease.run, name)

    def find(self, name: str, kind: str) -> StepRecord | None:
        """Return what is recorded of the next step, or None if it is to be done now.

        Raises:
            StepsChanged: Another one is recorded in its place.
            UsageError: The name cannot be one, or was used before.
            Unwind: The operation is being undone.
        """
        if self.failure or self._failed_step:
            raise self.failure or self._failed_step  # type: ignore[misc]  # one of them is there
        self._check_name(name)
        if self.position < len(self._records):
            record = self._records[self.position]
            if (record.name, record.kind) != (name, kind):
                raise self.fail(
                    StepsChanged(
                        f"The handler asks for the {kind} {name!r}, where the {record.kind} {record.name!r} is "
                        f"recorded, at place {self.position + 1}. {_WHAT_TO_DO}"
                    )
                )
            return record
        if self.lease.abort:
            raise Unwind
        return None

    def new(self, name: str, kind: str, *, state: str, result: str = "") -> StepRecord:
        """Return the record of a step that begins, or has been done, just now."""
        now = timezone.now()
        finished = now if state == IdempotentStep.State.DONE else None
        return StepRecord(
            position=self.position, name=name, kind=kind, state=state, result=result, started=now, finished=finished
        )

    def keep(self, record: StepRecord, *, undo: Callable[..., Any] | None, holds: bool = False) -> Any:
        """Go on to the next step, and return what this one has returned."""
        if self.position == len(self._records):
            self._records.append(record)
        else:
            self._records[self.position] = record
        if undo is not None:
            self._undos[record.position] = (undo, holds)
        self._names.add(record.name)
        return record.value

    def fail(self, error: BaseException) -> BaseException:
        """Let nothing more happen in this attempt; return *error*, to be raised."""
        self.failure = self.failure or error
        return self.failure

    def fail_step(self, error: BaseException) -> None:
        """Let nothing more happen but an abort: nothing of the step is left."""
        self._failed_step = self._failed_step or error

    def close(self) -> None:
        """Accept that the handler has returned.

        Raises:
            StepsChanged: Steps are recorded that it has not asked for.
            Unwind: The operation is being undone.
        """
        if self.failure or self._failed_step:
            raise self.failure or self._failed_step  # type: ignore[misc]  # one of them is there
        self.close_to_undo()
        if self.lease.abort:
            raise Unwind

    def close_to_undo(self) -> None:
        """Accept that the handler asks for no more steps; all that are recorded must be known, to be undone.

        Raises:
            StepsChanged: Steps are recorded that it has not asked for.
        """
        if self.failure:
            raise self.failure
        if self.position < len(self._records):
            record = self._records[self.position]
            raise self.fail(
                StepsChanged(
                    f"The handler ended without asking for the {record.kind} {record.name!r}, which is recorded at "
                    f"place {self.position + 1}. {_WHAT_TO_DO}"
                )
            )

    def undo(self) -> None:
        """Undo what has an undo, the last one first; what is undone already stays so.

        Raises:
            OutcomeUncertain: Nobody knows whether an undo that reaches another system has happened.
        """
        for position in sorted(self._undos, reverse=True):
            record = self._records[position]
            undo, holds = self._undos[position]
            if record.state == IdempotentStep.State.UNDONE:
                continue
            if record.kind == IdempotentStep.Kind.STEP:
                with phases.phase(self.lease):
                    undo(record.value)
                    phases.change(self.lease, _undone(record))
                continue
            if record.state == IdempotentStep.State.UNDOING and holds:
                raise self.fail(OutcomeUncertain())
            self.write(replace(record, state=IdempotentStep.State.UNDOING))
            undo(record.value, undo_key(self.lease.run, record.name))
            self.write(_undone(record))

    def write(self, record: StepRecord) -> None:
        """Record what has become of a step, in a phase of its own."""
        with phases.phase(self.lease):
            phases.change(self.lease, record)

    def _check_name(self, name: object) -> None:
        if not isinstance(name, str) or not 1 <= len(name) <= STEP_NAME_MAX_LENGTH or not name.isprintable():
            raise UsageError(
                f"A step's name must be 1 to {STEP_NAME_MAX_LENGTH} printable characters, not {name!r}. Name it for "
                "what it does."
            )
        if name in self._names:
            raise UsageError(
                f"The operation has a step named {name!r} already; what is recorded, and a call's derived key, go by "
                f'the name. Number what repeats: "{name} 2".'
            )


_WHAT_TO_DO = (
    "The handler has changed since the operation began, or does not do the same again. Nothing of this attempt ran. "
    "Deploy what can go on from these steps, in their order, and retry; or let the key expire in the admin, after a "
    "look at what the recorded steps have done."
)


def child_key(run: uuid.UUID, name: str) -> str:
    """Return the key with which the call of this *name* is made."""
    return str(uuid.uuid5(run, name))


def undo_key(run: uuid.UUID, name: str) -> str:
    """Return the key with which that call is undone."""
    return str(uuid.uuid5(uuid.UUID(child_key(run, name)), "undo"))


def spell(value: Any) -> str:
    """Return the JSON of what a step returned.

    Raises:
        UsageError: JSON has nothing for it.
    """
    try:
        return json.dumps(value, cls=DjangoJSONEncoder, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise UsageError(
            f"What the step returned cannot be recorded ({error}). Return what JSON has, such as a primary key instead "
            "of an object."
        ) from error


def _undone(record: StepRecord) -> StepRecord:
    return replace(record, state=IdempotentStep.State.UNDONE, finished=timezone.now())
