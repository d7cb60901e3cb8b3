"""The purge: what has expired goes, batch by batch, while requests go on."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from math import inf
from typing import Any, Final
from uuid import UUID

from django.utils import timezone

from django_idempotency import backlog, changes, store
from django_idempotency.batches import HAS_RESPONSE
from django_idempotency.conf import as_timedelta, settings
from django_idempotency.exceptions import UsageError
from django_idempotency.models import IdempotencyKey
from django_idempotency.requirements import REQUIREMENTS, Requirement

# Keys that are looked up at once, for ten batches or less: see Note [The purge reads each index entry once].
_PAGE_SIZE: Final = 10_000
# The longest sleep, in seconds, before looking whether to stop.
_NAP: Final = 0.1
# The seconds after which a response is tried again whose row another transaction holds.
_ERASE_PAUSES: Final = (0.01, 0.02, 0.04, 0.08)


def _is_int(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


PURGE_REQUIREMENTS: Final = {
    "older_than": REQUIREMENTS["tombstone_ttl"],
    "batch_size": Requirement(
        lambda value: _is_int(value) and 1 <= value <= 100_000, "a whole number from 1 to 100000"
    ),
    "max_rows": Requirement(
        lambda value: value is None or (_is_int(value) and value >= 1), "a whole number, 1 or more"
    ),
    "max_seconds": Requirement(
        lambda value: value is None or ((_is_int(value) or isinstance(value, float)) and 0 < value < inf),
        "a number of seconds above 0",
    ),
    "sleep": REQUIREMENTS["wait"],
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Purged:
    """What a purge has done so far, or, when it `finished`, in all."""

    deleted: int = 0
    """Keys that are gone: their requests may run again."""
    erased: int = 0
    """Responses that are gone, and left their keys behind as tombstones."""
    left: int = 0
    """Expired keys that another transaction held, renewed or deleted meanwhile."""
    seconds: float = 0.0
    finished: bool = False
    """Whether it came to the end, rather than to a limit, a request to stop, or a response that is held."""

    @property
    def rows(self) -> int:
        """How many keys were deleted, and responses erased."""
        return self.deleted + self.erased

    @property
    def rate(self) -> float:
        """How many rows a second."""
        return self.rows / self.seconds if self.seconds else 0.0


def purge(
    *,
    using: str | None = None,
    older_than: timedelta | float = 0,
    batch_size: int = 1000,
    max_rows: int | None = None,
    max_seconds: float | None = None,
    sleep: float = 0.0,
    on_batch: Callable[[Purged], object] | None = None,
    should_stop: Callable[[], bool] | None = None,
) -> Purged:
    """Delete the keys that expired by now, in batches that are transactions of their own, and tell what went.

    With IDEMPOTENCY_TOMBSTONE_TTL set, keys are deleted so much later; at their expiry, the response is erased.

    Neither an unexpired key is touched, nor one that another transaction holds; nobody is waited for, but SQLite's one
    writer. It may run beside requests and beside itself, and be killed at any moment: what is committed is done.

    *older_than* spares what expired more recently: a timedelta, or seconds. *max_rows* and *max_seconds* end it early,
    *sleep* is seconds between two batches. *on_batch* is called after each batch, *should_stop* is asked before each.

    Raises:
        UsageError: An argument cannot be meant.
        RuntimeError: A transaction is open: its end would decide what is gone.
    """
    run = _Run(
        using=using or store.database(),
        batch_size=batch_size,
        max_rows=max_rows,
        max_seconds=max_seconds,
        sleep=sleep,
        on_batch=on_batch,
        should_stop=should_stop,
    )
    expired, forgotten = _moments(older_than)
    run.delete(by=forgotten)
    if forgotten < expired and not run.ended:
        run.erase(since=forgotten, by=expired)
    return replace(run.purged, seconds=run.seconds, finished=not run.ended)


def count_expired(*, using: str | None = None, older_than: timedelta | float = 0) -> Purged:
    """Return what `purge` would do now, if nobody held a key and nothing ended it early.

    Raises:
        UsageError: An argument cannot be meant.
    """
    alias = using or store.database()
    expired, forgotten = _moments(older_than)
    return Purged(
        deleted=backlog.count_deletable(alias, by=forgotten),
        erased=backlog.count_erasable(alias, since=forgotten, by=expired) if forgotten < expired else 0,
        finished=True,
    )


@dataclass(slots=True, kw_only=True)
class _Run:
    using: str
    batch_size: int
    max_rows: int | None
    max_seconds: float | None
    sleep: float
    on_batch: Callable[[Purged], object] | None
    should_stop: Callable[[], bool] | None
    purged: Purged = field(default_factory=Purged)
    started: float = field(default_factory=time.monotonic)
    batches: int = 0
    ended: bool = False

    def __post_init__(self) -> None:
        for name in ("batch_size", "max_rows", "max_seconds", "sleep"):
            _require(name, getattr(self, name))

    @property
    def page_size(self) -> int:
        return max(self.batch_size, min(10 * self.batch_size, _PAGE_SIZE))

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.started

    def delete(self, *, by: datetime) -> None:
        for ids in self._batches(backlog.deletable(self.using, by=by, size=self.page_size)):
            deleted = changes.delete_expired(ids, by=by, using=self.using)
            self._report(deleted=deleted, left=len(ids) - deleted)

    def erase(self, *, since: datetime, by: datetime) -> None:
        pages = backlog.erasable(self.using, since=since, by=by, size=self.page_size)
        for ids in self._batches(pages):
            erased, is_held = self._erase(ids, by=by)
            self._report(erased=erased, left=len(ids) - erased)
            # See Note [Erased from the oldest on].
            self.ended = is_held

    def _erase(self, ids: list[UUID], *, by: datetime) -> tuple[int, bool]:
        held = IdempotencyKey.objects.using(self.using).expired(by).filter(HAS_RESPONSE, pk__in=ids)
        erased = 0
        for pause in (0.0, *_ERASE_PAUSES):
            time.sleep(pause)
            erased += changes.erase_expired(ids, by=by, using=self.using)
            if erased == len(ids) or not held.exists():
                return erased, False
        return erased, True

    def _batches(self, pages: Iterator[list[UUID]]) -> Iterator[list[UUID]]:
        for ids in pages:
            while ids:
                self.ended = self.ended or not self._goes_on()
                if self.ended:
                    return
                size = self._batch_size()
                yield ids[:size]
                del ids[:size]

    def _batch_size(self) -> int:
        rows_left = self.batch_size if self.max_rows is None else self.max_rows - self.purged.rows
        return min(self.batch_size, rows_left, changes.max_batch_size(using=self.using))

    def _goes_on(self) -> bool:
        """Sleep between two batches, and tell whether another one may follow."""
        until = time.monotonic() + (self.sleep if self.batches else 0.0)
        while not (over := self._is_over()) and (pause := until - time.monotonic()) > 0:
            time.sleep(min(pause, _NAP))
        return not over

    def _is_over(self) -> bool:
        return (
            (self.should_stop is not None and self.should_stop())
            or (self.max_rows is not None and self.purged.rows >= self.max_rows)
            or (self.max_seconds is not None and self.seconds >= self.max_seconds)
        )

    def _report(self, *, deleted: int = 0, erased: int = 0, left: int) -> None:
        self.batches += 1
        self.purged = Purged(
            deleted=self.purged.deleted + deleted,
            erased=self.purged.erased + erased,
            left=self.purged.left + left,
            seconds=self.seconds,
        )
        if self.on_batch is not None:
            self.on_batch(self.purged)


def _moments(older_than: timedelta | float) -> tuple[datetime, datetime]:
    """Return by when a key must have expired to be erased, and to be deleted."""
    _require("older_than", older_than)
    now = timezone.now()
    spared = as_timedelta(older_than)
    return now - spared, now - max(spared, settings.tombstone_ttl)


def _require(name: str, value: Any) -> None:
    requirement = PURGE_REQUIREMENTS[name]
    if not requirement.accepts(value):
        raise UsageError(f"{name} must be {requirement.words}, not {value!r}.")
