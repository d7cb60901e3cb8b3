"""What the purge has before it: where expired keys are found, without a look at what is done."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

from django.db.models import BooleanField, Count, ExpressionWrapper, Q
from django.utils import timezone

from django_idempotency.batches import HAS_RESPONSE
from django_idempotency.conf import settings
from django_idempotency.models import IdempotencyKey, IdempotencyKeyQuerySet

# So many keys without a response, one after the other, show that those before them have none either.
_ERASED_RUN: Final = 1_000
_SECOND: Final = timedelta(seconds=1)
_has_response: Final = ExpressionWrapper(HAS_RESPONSE, output_field=BooleanField())


def deletable(using: str, *, by: datetime, size: int) -> Iterator[list[UUID]]:
    """Yield the keys that expired *by* then, the oldest first, in pages of up to *size*."""
    for page in _pages(IdempotencyKey.objects.using(using).expired(by), size=size):
        yield [pk for _, pk in page]


# Note [Erased from the oldest on]
# No index tells an erased response from one that is still there, and to look at all tombstones in each run would make
# the runs longer the longer tombstones are kept. So responses are erased strictly in order of expiry, and the next run
# finds by bisection where this one came to. A row that is held must therefore not be passed over: it is tried some
# times, and then ends the run.
def erasable(using: str, *, since: datetime, by: datetime, size: int) -> Iterator[list[UUID]]:
    """Yield like `deletable` those keys that expired after *since* and still have a response."""
    rows = IdempotencyKey.objects.using(using).expired(by).annotate(has_response=_has_response)
    for page in _pages(rows, "has_response", since=_erased_until(rows, since=since, by=by), size=size):
        yield [pk for _, pk, has_response in page if has_response]


def count_deletable(using: str, *, by: datetime) -> int:
    """Return how many keys expired *by* then."""
    return IdempotencyKey.objects.using(using).expired(by).count()


def count_erasable(using: str, *, since: datetime, by: datetime) -> int:
    """Return how many keys expired after *since*, but by *by*, and still have a response."""
    rows = IdempotencyKey.objects.using(using).expired(by).annotate(has_response=_has_response)
    return rows.filter(expires__gt=_erased_until(rows, since=since, by=by), has_response=True).count()


def overdue_since(using: str, *, allowed: timedelta) -> datetime | None:
    """Return when a key expired that should have been deleted, or erased, longer than *allowed* ago; or None."""
    by = timezone.now() - allowed
    rows = IdempotencyKey.objects.using(using)
    oldest = rows.expired(by - settings.tombstone_ttl).order_by("expires").values_list("expires", flat=True).first()
    if oldest is not None or not settings.tombstone_ttl:
        return oldest
    # Responses are erased from the oldest on, so the youngest tells.
    youngest = rows.expired(by).annotate(has_response=_has_response).order_by("expires")
    expires, has_response = youngest.values_list("expires", "has_response").last() or (None, False)
    return expires if has_response else None


# Note [The purge reads each index entry once]
# On PostgreSQL, the index entry of a deleted row stays until a vacuum. A purge that asks for the first thousand expired
# rows again and again reads over all that it has deleted before, each time. So each page starts behind the last row of
# the one before. It feeds several batches, since rows that expire at one moment are sorted anew for each page.
def _pages(
    rows: IdempotencyKeyQuerySet, *columns: str, size: int, since: datetime | None = None
) -> Iterator[list[tuple[Any, ...]]]:
    expires, pk = since, UUID(int=0)
    ordered = rows.order_by("expires", "pk").values_list("expires", "pk", *columns)
    while True:
        behind = Q() if expires is None else Q(expires__gte=expires) & (Q(expires__gt=expires) | Q(pk__gt=pk))
        page = list(ordered.filter(behind)[:size])
        yield page
        if len(page) < size:
            return
        expires, pk, *_ = page[-1]


def _erased_until(rows: IdempotencyKeyQuerySet, *, since: datetime, by: datetime) -> datetime:
    """Return a moment since *since* up to which everything is erased, a second short of the last one at most.

    Few keys without a response show nothing: their answers may never have been stored.
    """
    low, high = since, by
    while high - low > _SECOND:
        middle = low + (high - low) / 2
        run = rows.filter(expires__gt=middle).order_by("expires")[:_ERASED_RUN]
        found = run.aggregate(keys=Count("pk"), responses=Count("pk", filter=Q(has_response=True)))
        if found["keys"] == _ERASED_RUN and not found["responses"]:
            low = middle
        else:
            high = middle
    return low
