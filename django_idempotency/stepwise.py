"""The protocol for operations of several steps: take, run or go on, undo, end. It knows no HTTP and no SQL."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any, Final, TypeVar

from django.db import Error

from django_idempotency import leases, phases, signals
from django_idempotency.exceptions import IdempotencyError, OutcomeUncertain, RequestInProgress, UsageError
from django_idempotency.execution import answer, pause
from django_idempotency.heartbeat import beating
from django_idempotency.journal import Journal, Unwind
from django_idempotency.leases import Lease
from django_idempotency.models import IdempotentRun
from django_idempotency.steps import Abort, SteppedOperation
from django_idempotency.values import Codec, Operation, Outcome

T = TypeVar("T")

logger: Final = logging.getLogger("django_idempotency")


def execute_in_steps(
    operation: Operation,
    handler: Callable[[SteppedOperation], T],
    *,
    codec: Codec[T],
    lease: timedelta,
    using: str | None = None,
    wait: float = 0.0,
    reruns: int = 0,
    request: str = "",
    taken: Lease | None = None,
) -> Outcome[T]:
    """Run *handler* until it has returned once; afterwards, replay that.

    The claim is committed first, with a *lease*. While one caller holds it, others are refused, or wait up to *wait*
    seconds. When the handler raises, what it has recorded stays, and the next caller goes on from there at once; when
    its process dies, as soon as the lease has run out. A step runs again up to *reruns* times when the database gives
    up its transaction. *request* is kept until the end, for who resumes the operation: he has *taken* it up already.

    Raises:
        RequestInProgress, KeyReused, ResponseNotStored, ResponseExpired: Refused; the handler did not run, or
            was overtaken.
        OutcomeUncertain: A call is held.
        StepsChanged: The handler asks for other steps than are recorded.
        UsageError: A transaction is open.
    """
    if taken is not None:
        return _Attempt(_adopted(taken, operation, lease), codec).run(handler, reruns=reruns)
    deadline = time.monotonic() + wait
    while True:
        found = leases.take(operation, duration=lease, using=using, request=request)
        if isinstance(found, Lease):
            return _Attempt(found, codec).run(handler, reruns=reruns)
        response = answer(found, deadline)
        if response is not None:
            return Outcome(value=codec.load(response), replayed=True)
        time.sleep(pause(deadline))


def _adopted(taken: Lease, operation: Operation, duration: timedelta) -> Lease:
    if taken.operation.digest != operation.digest:
        raise UsageError(
            "The kept request asks for another operation than it did: its key's scope depends on what is not kept. "
            "Name the header that tells it in keep_request, or leave keep_request out."
        )
    return replace(taken, operation=operation, duration=duration)


class _Attempt:
    """One worker's attempt at an operation, from its lease to its end or its failure."""

    def __init__(self, lease: Lease, codec: Codec[Any]) -> None:
        self.lease = lease
        self.codec = codec
        self.journal = Journal(lease)
        self.started = time.perf_counter()

    def run(self, handler: Callable[[SteppedOperation], T], *, reruns: int) -> Outcome[T]:
        try:
            with beating(self.lease):
                return self._conduct(handler, reruns)
        except BaseException as error:
            self._give_up(error)
            raise

    @property
    def _seconds(self) -> float:
        return time.perf_counter() - self.started

    def _conduct(self, handler: Callable[[SteppedOperation], T], reruns: int) -> Outcome[T]:
        try:
            value = handler(SteppedOperation(self.journal, reruns=reruns))
            self.journal.close()
        except Abort as abort:
            return self._go_on_aborting() if self.lease.abort else self._abort(abort.answer)
        except Unwind:
            return self._go_on_aborting()
        response = self.codec.dump(value)
        if response is None:
            phases.release(self.lease, note="Its answer is none that is stored.")
        else:
            phases.end(self.lease, response, seconds=self._seconds)
        return Outcome(value=value, replayed=False)

    # Note [An abort is remembered before it is begun]
    # Whether the handler would abort again after a crash depends on what it meets then. So the answer is recorded
    # first. From then on the handler runs only to say what there is to undo, and is stopped at the first new step.
    def _abort(self, answer: Any) -> Outcome[Any]:
        self.journal.close_to_undo()
        response = self.codec.dump(answer)
        phases.begin_abort(self.lease, response)
        self.journal.undo()
        phases.end_abort(self.lease, stored=response is not None, seconds=self._seconds)
        return Outcome(value=answer, replayed=False)

    def _go_on_aborting(self) -> Outcome[Any]:
        self.journal.close_to_undo()
        self.journal.undo()
        is_stored = self.lease.abort == IdempotentRun.Abort.STORED
        response = phases.end_abort(self.lease, stored=is_stored, seconds=self._seconds)
        if response is None:
            raise RequestInProgress("The operation was undone. Send the same request again, and it begins anew.")
        return Outcome(value=self.codec.load(response), replayed=True)

    def _give_up(self, error: BaseException) -> None:
        if error is self.journal.failure and isinstance(error, IdempotencyError):
            signals.refused.report(self.lease.operation, error=error)
        note = type(error).__name__
        if isinstance(error, IdempotencyError | UsageError):
            note = f"{note}: {error}"
        try:
            phases.release(self.lease, note=note, uncertain=isinstance(error, OutcomeUncertain))
        except Error:
            # What has ended the attempt is raised; without a database, the lease runs out by itself.
            logger.warning("event=release_failed digest=%s", self.lease.operation.digest)
