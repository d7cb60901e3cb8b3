"""The protocol: claim, run or decide, settle. It knows no HTTP and no SQL."""

from __future__ import annotations

import math
import random
import time
from asyncio import sleep
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final, TypeVar

from django.db import OperationalError

from django_idempotency import signals, store
from django_idempotency.exceptions import (
    IdempotencyError,
    KeyReused,
    RequestInProgress,
    ResponseExpired,
    ResponseNotStored,
)
from django_idempotency.threads import entered, named_caller, on_thread
from django_idempotency.values import Codec, Operation, Outcome, Record, StoredResponse

T = TypeVar("T")

# The mean seconds between two looks while a caller waits for the first request's answer, and between two runs.
_POLL_INTERVAL: Final = 0.05


def execute(
    operation: Operation,
    handler: Callable[[], T],
    *,
    codec: Codec[T],
    using: str | None = None,
    wait: float = 0.0,
    reruns: int = 0,
) -> Outcome[T]:
    """Run *handler* once per operation; afterwards, replay what it returned.

    The operation is remembered if and only if the handler's effects on the database *using* are committed. It is
    forgotten, and every effect rolled back, when the handler raises, when *codec* keeps nothing of its value, and
    when the process or the database session dies.

    While the first call is in progress, others are refused at once, or wait up to *wait* seconds for its
    value. They wait without a transaction; inside one of the caller's they are refused at once. When the
    database gives up the transaction (deadlock, serialization failure), the handler runs again up to *reruns* times.

    Raises:
        RequestInProgress, KeyReused, ResponseNotStored, ResponseExpired: Refused; the handler did not run.
    """
    deadline = time.monotonic() + wait
    while True:
        try:
            with store.claimed(operation, using=using) as claim:
                if claim.won:
                    value = handler()
                    _settle(claim, codec, value)
                    return Outcome(value=value, replayed=False)
        except OperationalError as error:
            if reruns == 0 or not store.is_rerunnable(error, using=using):
                raise
            reruns -= 1
            time.sleep(pause())  # Else a failure that waits for no lock comes again while the other one still runs.
            continue
        response = answer(claim, deadline)
        if response is not None:
            return Outcome(value=codec.load(response), replayed=True)
        time.sleep(pause(deadline))


async def aexecute(
    operation: Operation,
    handler: Callable[[], Awaitable[T]],
    *,
    codec: Codec[T],
    using: str | None = None,
    wait: float = 0.0,
    reruns: int = 0,
) -> Outcome[T]:
    """Do what `execute` does, for a coroutine function: its ORM calls share one thread and one transaction.

    Raises:
        UsageError: Another task's operation is open on the same thread, and with it the same transaction.
    """
    deadline = time.monotonic() + wait
    while True:
        try:
            with named_caller():
                async with entered(store.claimed(operation, using=using)) as claim:
                    if claim.won:
                        value = await handler()
                        await on_thread(partial(_settle, claim, codec, value))
                        return Outcome(value=value, replayed=False)
        except OperationalError as error:
            if reruns == 0 or not await on_thread(partial(store.is_rerunnable, error, using=using)):
                raise
            reruns -= 1
            await sleep(pause())
            continue
        response = await on_thread(partial(answer, claim, deadline))
        if response is not None:
            return Outcome(value=codec.load(response), replayed=True)
        await sleep(pause(deadline))


def answer(claim: store.Claim, deadline: float = 0.0) -> StoredResponse | None:
    """Return the stored answer to a lost claim, and report it; or None: look again, the *deadline* is not over.

    Raises:
        RequestInProgress, KeyReused, ResponseNotStored, ResponseExpired: As `decide` does; reported, too.
    """
    try:
        response = decide(claim.operation, claim.record)
    except IdempotencyError as error:
        patient = isinstance(error, RequestInProgress) and time.monotonic() < deadline
        if patient and not store.in_transaction(using=claim.using):
            return None
        signals.refused.report(claim.operation, error=error)
        raise
    signals.replayed.report(claim.operation)
    return response


def decide(operation: Operation, record: Record | None) -> StoredResponse:
    """Return the answer to a request that lost its claim, given what is remembered of the first one.

    Raises:
        RequestInProgress: Nothing is remembered: the first one is running, or was just rolled back. Neither lets
            this one run unclaimed. Or the first one has several steps, and has not ended.
        KeyReused: The first one had other parameters.
        ResponseNotStored, ResponseExpired: The first one is done, and its answer is not available any more.
    """
    if record is None or record.renewable:
        raise RequestInProgress
    if not operation.fingerprint.matches(record.fingerprint):
        raise KeyReused
    if not record.completed:
        raise RequestInProgress
    if record.expired:
        raise ResponseExpired
    if record.response.body is None:
        raise ResponseNotStored(record.response.status)
    return record.response


def pause(deadline: float = math.inf) -> float:
    """Return how many seconds to wait until the next look or run, which is not after the *deadline*."""
    # Jitter, so that callers who wait for one key, or have met in a deadlock, do not come back at the same moment.
    seconds = _POLL_INTERVAL * random.uniform(0.5, 1.5)  # noqa: S311 - no secret
    return max(0.0, min(seconds, deadline - time.monotonic()))


def _settle(claim: store.Claim, codec: Codec[T], value: T) -> None:
    claim.settle(codec.dump(value))
