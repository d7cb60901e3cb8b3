"""The door for consumers of messages, whatever the broker."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final, TypeVar

from django_idempotency import store
from django_idempotency.conf import as_timedelta, settings
from django_idempotency.exceptions import KeyInvalid, KeyMissing, ResponseExpired, UsageError
from django_idempotency.execution import answer, execute
from django_idempotency.fingerprint import Fingerprint
from django_idempotency.kept_calls import call_of, keep_call
from django_idempotency.keys import KEY_MAX_LENGTH
from django_idempotency.requirements import REQUIREMENTS
from django_idempotency.results import NoResult
from django_idempotency.stepwise import execute_in_steps
from django_idempotency.values import Operation, Outcome, StoredResponse

T = TypeVar("T")

SCOPE: Final = "consumer"


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """A message that was delivered; `should_run` is false if this consumer has processed it before."""

    should_run: bool


def process_once(
    consumer: str,
    message_id: str | None,
    handler: Callable[..., T],
    *,
    body: bytes = b"",
    ttl: timedelta | float | None = None,
    wait: float = 0.0,
    using: str | None = None,
    reruns: int = 0,
    steps: bool = False,
    lease: timedelta | float | None = None,
    keep_arguments: bool = False,
) -> Outcome[T | None]:
    """Run *handler* once per consumer and message, however often the broker delivers it.

    Acknowledge the message when this returns: what the handler wrote to the database *using* is committed then,
    together with the message's id; or it was before, and the outcome is `replayed` (without a value: what a handler
    returns is not stored). Return the message to its queue when this raises RequestInProgress, or whatever the
    handler raises: nothing was written. Inside a transaction of the caller's, the commit is the caller's,
    and comes before the acknowledgement.

    The *message_id* is the producer's, the same whenever it sends the message again. *consumer* names what is done
    with the message; each consumer processes it once. *ttl* (a timedelta or seconds; None asks the settings) must
    be longer than a message may take to be delivered again. With its *body*, another message that carries the
    same id is told from a duplicate. While another worker is at the message, this one waits up to *wait* seconds;
    it runs again up to *reruns* times when the database gives up the transaction.

    With *steps*, the handler gets an `operation` (`django_idempotency.steps`) as a keyword argument, instead of one
    transaction: what it has recorded when it raises or dies stays, and the next delivery goes on from there. The
    *lease* is how long others wait for a worker that has died (None asks the settings). With *keep_arguments*, the
    handler is kept in the database until it has ended, so that `resume_idempotent_operations` can go on when the broker
    does not deliver the message again: a function of a module's, or a `functools.partial` of one with arguments that
    JSON has.

    Raises:
        RequestInProgress: Another worker is at it; return it to the queue.
        KeyMissing, KeyInvalid: The producer gave it no id, or none that can be kept; it will never be processed.
        KeyReused: The producer gave this id to a message with another body; it will never be processed.
        UsageError: The id is no text, so that it is none that a producer made; the handler cannot be kept; or there is
            a lease, or keep_arguments, without steps.
        OutcomeUncertain: With steps: a call is held; put the message aside, and deliver it again when that is settled.
    """
    if lease is not None and not (steps and REQUIREMENTS["lease"].accepts(lease)):
        raise UsageError(f"lease must be {REQUIREMENTS['lease'].words}, and comes with steps=True; it is {lease!r}.")
    if keep_arguments and not steps:
        raise UsageError("keep_arguments is for operations of several steps. Leave it out, or add steps=True.")
    operation = _operation(consumer, message_id, body, ttl)
    manner: dict[str, Any] = {"codec": NoResult(), "wait": wait, "using": using, "reruns": reruns}
    try:
        if steps:
            options = {"ttl": _seconds(ttl), "lease": _seconds(lease), "reruns": reruns}
            return execute_in_steps(
                operation,
                lambda stepped: handler(operation=stepped),
                lease=settings.lease if lease is None else as_timedelta(lease),
                request=keep_call(call_of(handler), door="message", **options) if keep_arguments else "",
                **manner,
            )
        return execute(operation, handler, **manner)
    except ResponseExpired:
        return Outcome(value=None, replayed=True)


@contextmanager
def once(
    consumer: str,
    message_id: str | None,
    *,
    body: bytes = b"",
    ttl: timedelta | float | None = None,
    using: str | None = None,
) -> Iterator[Message]:
    """Do what `process_once` does, for a block that asks whether to run.

        with once("billing", message_id) as message:
            if message.should_run:
                ...

    The block's writes and the message's id are committed when the block ends. Acknowledge after it, not in it.

    Raises:
        RequestInProgress, KeyMissing, KeyInvalid, KeyReused, UsageError: As `process_once` does; the block did not run.
    """
    operation = _operation(consumer, message_id, body, ttl)
    with store.claimed(operation, using=using) as claim:
        if claim.won:
            yield Message(should_run=True)
            claim.settle(StoredResponse())
            return
    with suppress(ResponseExpired):
        answer(claim)
    yield Message(should_run=False)


def _seconds(duration: timedelta | float | None) -> float | None:
    return None if duration is None else as_timedelta(duration).total_seconds()


def _operation(consumer: str, message_id: str | None, body: bytes, ttl: timedelta | float | None) -> Operation:
    return Operation(
        namespace=consumer,
        scope=SCOPE,
        key=_valid(message_id),
        fingerprint=Fingerprint.of(body),
        ttl=settings.ttl if ttl is None else as_timedelta(ttl),
    )


def _valid(message_id: str | None) -> str:
    if message_id is None or message_id == "":
        raise KeyMissing(
            "The message has no id that its duplicates share. Let its producer make one, once for each message, and "
            "send it with every attempt: as the property message_id (AMQP), or in the header Nats-Msg-Id (NATS). A "
            "delivery tag is none: the broker counts deliveries with it."
        )
    if not isinstance(message_id, str):
        raise UsageError(
            f"A message id must be a str that the producer made, not {message_id!r}. A delivery tag, or another number "
            f"of the broker's, is a new one for a duplicate, which would run."
        )
    if len(message_id) > KEY_MAX_LENGTH or not message_id.isprintable():
        raise KeyInvalid(
            f"The message id {message_id[:KEY_MAX_LENGTH]!r} cannot be kept. Let its producer make one of printable "
            f"characters, {KEY_MAX_LENGTH} at most."
        )
    return message_id
