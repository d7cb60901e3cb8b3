"""What has become of a key, in a word and in a sentence."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Final

from django.utils.translation import gettext_lazy as _

if TYPE_CHECKING:
    from datetime import timedelta

    from django.utils.functional import _StrOrPromise

    from django_idempotency.models import IdempotencyKey


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """A state's name for programs, its label, and what a retry of the request meets."""

    name: str
    label: _StrOrPromise
    meaning: _StrOrPromise


IN_PROGRESS: Final = State(
    name="in_progress", label=_("In progress"), meaning=_("The request runs; a retry is told to come again.")
)
UNFINISHED: Final = State(
    name="unfinished",
    label=_("Unfinished"),
    meaning=_("Nobody is at it. A retry goes on from the steps that are recorded."),
)
UNCERTAIN: Final = State(
    name="uncertain",
    label=_("Uncertain"),
    meaning=_("A call to another system may have happened. If it is held, retries are refused until it is settled."),
)
FAILED: Final = State(
    name="failed",
    label=_("Failed"),
    meaning=_("It was taken up too often, and is left alone. A retry still goes on from the steps that are recorded."),
)
COMPLETED: Final = State(name="completed", label=_("Completed"), meaning=_("A retry gets the stored response."))
NOT_STORED: Final = State(
    name="not_stored",
    label=_("Not stored"),
    meaning=_("The response was too large to store, or has been erased. A retry is refused, and does not run."),
)
RESPONSE_EXPIRED: Final = State(
    name="response_expired",
    label=_("Response expired"),
    meaning=_("A retry is refused, and does not run, until the key is forgotten."),
)
EXPIRED: Final = State(name="expired", label=_("Expired"), meaning=_("The same request is a new one, and runs."))


def is_lasting(key: IdempotencyKey) -> bool:
    """Tell whether *key* is that of an operation of several steps that has not ended, and does not expire before."""
    return key.completed is None and key.expires.year == 9999


def state_of(key: IdempotencyKey, *, is_stored: bool, now: datetime, tombstone_ttl: timedelta) -> State:
    """Return the state of *key* at the moment *now*."""
    if key.expires <= now - tombstone_ttl:
        return EXPIRED
    if key.expires <= now:
        return RESPONSE_EXPIRED
    if key.completed is None:
        return IN_PROGRESS
    return COMPLETED if is_stored else NOT_STORED
