"""What a handler of several steps sees: its operation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from enum import Enum
from typing import Any, Final, Literal, TypeVar, get_args

from django.db import OperationalError
from django.utils import timezone

from django_idempotency import leases, phases, store
from django_idempotency.exceptions import OutcomeUncertain, UsageError
from django_idempotency.journal import Journal, Unwind, spell
from django_idempotency.leases import StepRecord
from django_idempotency.models import IdempotentStep

T = TypeVar("T")
IfUncertain = Literal["retry", "hold"]


class _NotDone(Enum):
    NOT_DONE = "not done"


NOT_DONE: Final = _NotDone.NOT_DONE
"""What a reconciler returns of a call that has not happened, and will not: it is made again."""


class Abort(Exception):
    """Undo what is done, in reverse order, and answer with *answer*: the view's response, or the job's result.

    The answer is stored, and replayed, if its status is one that is; else the undone operation is forgotten.
    """

    def __init__(self, answer: Any = None) -> None:
        super().__init__(answer)
        self.answer = answer


class SteppedOperation:
    """An operation in the hands of its handler.

    The handler runs again after a crash. It must then ask for the same steps in the same order, as far as they are
    recorded; these return what was recorded, and do not run. What they return is read from JSON, the first time, too.
    """

    def __init__(self, journal: Journal, *, reruns: int = 0) -> None:
        self._journal = journal
        self._reruns = reruns

    @property
    def attempt(self) -> int:
        """How many times the operation was taken up, this time included."""
        return self._journal.lease.attempt

    def child_key(self, name: str) -> str:
        """Return the idempotency key for the call *name*: a UUID, the same in each attempt at this operation."""
        return self._journal.child_key(name)

    def step(self, name: str, function: Callable[[], Any], *, undo: Callable[[Any], object] | None = None) -> Any:
        """Run *function* in a transaction of its own, which commits its result, too; afterwards, return that.

        *undo* is called with the result, in a transaction as well, if the operation is aborted later on. If
        *function* raises, nothing of it is left, and no further step of this attempt runs.

        Raises:
            RequestInProgress: Another attempt has taken over; nothing ran.
            StepsChanged: Another step is recorded in this place; nothing ran.
            UsageError: The result is nothing that JSON has; the step is rolled back.
        """
        record = self._journal.find(name, IdempotentStep.Kind.STEP)
        if record is None:
            leases.refuse_transaction(self._journal.lease.using)
            record = self._run(name, function)
        return self._journal.keep(record, undo=undo)

    def call(
        self,
        name: str,
        function: Callable[[str], Any],
        *,
        if_uncertain: IfUncertain = "retry",
        reconcile: Callable[[str], Any] | None = None,
        undo: Callable[[Any, str], object] | None = None,
    ) -> Any:
        """Call another system, outside of any transaction, and record what *function* returns.

        It gets `child_key(name)`, to send as the idempotency key. Before, it is recorded that the call may happen. If
        the process dies between the two, or *function* raises, nobody knows whether it has. Then the next attempt

        - asks *reconcile*, if there is one: it gets the key, and returns the result, or NOT_DONE;
        - or else calls again with the same key ("retry"): the other system must tell duplicates by it;
        - or else refuses ("hold"), until a person says in the admin what has happened.

        *undo* is called with the result and a key of its own, if the operation is aborted later on.

        Raises:
            OutcomeUncertain: The call is held.
            RequestInProgress, StepsChanged, UsageError: As `step` does.
        """
        if if_uncertain not in get_args(IfUncertain):
            raise UsageError(f'if_uncertain must be "retry" or "hold", not {if_uncertain!r}.')
        record = self._journal.find(name, IdempotentStep.Kind.CALL)
        holds = if_uncertain == "hold"
        if record is None or record.state == IdempotentStep.State.PERMITTED:
            leases.refuse_transaction()
            try:
                record = self._call(name, function, record, holds=holds, reconcile=reconcile)
            except BaseException as error:
                self._journal.fail(error)
                raise
        return self._journal.keep(record, undo=undo, holds=holds)

    def _run(self, name: str, function: Callable[[], Any]) -> StepRecord:
        try:
            return self._commit(name, function)
        except (Abort, Unwind):
            raise
        except phases.Overtaken as error:
            self._journal.fail(error)
            raise
        except BaseException as error:
            self._journal.fail_step(error)
            raise

    def _commit(self, name: str, function: Callable[[], Any]) -> StepRecord:
        reruns = self._reruns
        lease = self._journal.lease
        while True:
            try:
                with phases.phase(lease):
                    result = spell(function())
                    record = self._journal.new(
                        name, IdempotentStep.Kind.STEP, state=IdempotentStep.State.DONE, result=result
                    )
                    phases.add(lease, record)
            except OperationalError as error:
                if reruns == 0 or not store.is_rerunnable(error, using=lease.using):
                    raise
                reruns -= 1
            else:
                return record

    def _call(
        self,
        name: str,
        function: Callable[[str], Any],
        permitted: StepRecord | None,
        *,
        holds: bool,
        reconcile: Callable[[str], Any] | None,
    ) -> StepRecord:
        result: Any = NOT_DONE
        key = self.child_key(name)
        lease = self._journal.lease
        if permitted is None:
            record = self._journal.new(name, IdempotentStep.Kind.CALL, state=IdempotentStep.State.PERMITTED)
            with phases.phase(lease):
                phases.add(lease, record)
        else:
            if reconcile is not None:
                result = self._reconcile(reconcile, key)
            elif holds:
                raise OutcomeUncertain
            record = replace(permitted, started=timezone.now())
            self._journal.write(record)
        if result is NOT_DONE:
            result = function(key)
        done = replace(record, state=IdempotentStep.State.DONE, result=spell(result), finished=timezone.now())
        self._journal.write(done)
        return done

    def _reconcile(self, reconcile: Callable[[str], Any], key: str) -> Any:
        try:
            return reconcile(key)
        except Exception as error:
            raise OutcomeUncertain from error
