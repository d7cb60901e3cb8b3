"""How many keys were created in each hour of a day and on each day of a month, and how they ended.

Note [Two bounded ranges]
Counting all keys of a month takes as long as there are keys. A key expires after it was created, so that the index
on the expiry holds what was created since a moment in one range, too. If that range is small, it is counted. If it
is not, the first keys in the order of the primary key are counted instead: since that is a digest, they are a sample
of the table that nothing but chance has chosen, and the last one's place among all 128-bit numbers tells how large
a part of the table they are. Either way no more than a fixed number of rows is read.

The sample is of no use where many scopes have the same keys, which are neighbours: it would hold a few keys with all
their scopes. Then nothing is shown rather than something wrong.
"""

from __future__ import annotations

from bisect import bisect
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from django.db.models import Count, DateTimeField, ExpressionWrapper, F
from django.db.models.functions import TruncHour
from django.utils import timezone

from django_idempotency.conf import settings

if TYPE_CHECKING:
    from django_idempotency.models import IdempotencyKeyQuerySet

# How many rows are counted one by one, and how many are a sample of more.
COUNTED_ROWS: Final = 10_000
SAMPLE_ROWS: Final = 4_000

# How many of the sample's first keys are looked at, and how many different ones make it a sample.
_PROBED_ROWS: Final = 1_000
_DISTINCT_KEYS: Final = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """A time in equal parts, the last of which is not over; `starts` are their beginnings."""

    starts: Sequence[datetime]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """For each part of the span, how many keys were created in it, by the class of their status."""

    span: Span
    counts: Sequence[Counter[str]]
    is_estimate: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """The first of all keys in the order of their digests, and what part of all keys they are."""

    keys: IdempotencyKeyQuerySet
    share: float
    is_monotonous: bool

    @classmethod
    def of(cls, keys: IdempotencyKeyQuerySet) -> Sample:
        keys = keys.order_by("pk")
        end = _beyond(keys, "pk", SAMPLE_ROWS)
        probed = keys.values("key")[:_PROBED_ROWS].aggregate(number=Count("key", distinct=True))
        return cls(
            keys=keys if end is None else keys.filter(pk__lt=end),
            share=1.0 if end is None else end.int / 2**128,
            is_monotonous=probed["number"] < _DISTINCT_KEYS,
        )

    def scaled(self, part: Tally) -> Tally:
        """Return what the *part* of the sample means for all keys."""
        counts = [Counter({css: round(number / self.share) for css, number in each.items()}) for each in part.counts]
        return Tally(span=part.span, counts=counts, is_estimate=True)


def hours(now: datetime, number: int = 24) -> Span:
    """Return the hour that *now* is in, and those before it."""
    current = local(now).replace(minute=0, second=0, microsecond=0)
    if timezone.is_aware(current):
        current = current.astimezone(UTC)  # Where all hours are equally long.
    return Span(starts=[current - timedelta(hours=back) for back in reversed(range(number))])


def days(now: datetime, number: int = 30) -> Span:
    """Return the day that *now* is in, by the clock of the current time zone, and those before it."""
    today = local(now).replace(hour=0, minute=0, second=0, microsecond=0, tzinfo=None)
    midnights = [today - timedelta(days=back) for back in reversed(range(number))]
    if timezone.is_aware(now):
        midnights = [timezone.make_aware(midnight) for midnight in midnights]
    return Span(starts=midnights)


def tally(keys: IdempotencyKeyQuerySet, spans: Sequence[Span]) -> list[Tally] | None:
    """Return a tally of *keys* for each of the *spans*, or None if they can be neither counted nor estimated."""
    few = [span for span in spans if _is_small(_since(keys, span))]
    counted = _count(_since(keys, min(few, key=lambda span: span.starts[0])), few) if few else []
    many = [span for span in spans if span not in few]
    if not many:
        return counted
    sample = Sample.of(keys)
    if sample.is_monotonous:
        return None
    estimated = [sample.scaled(part) for part in _count(sample.keys, many)]
    return sorted([*counted, *estimated], key=lambda part: spans.index(part.span))


def _since(keys: IdempotencyKeyQuerySet, span: Span) -> IdempotencyKeyQuerySet:
    """Narrow *keys* to a range of the expiry that holds all that were created in the span."""
    # Who lets a key expire by hand may set it back by as much as a tombstone lasts.
    return keys.unexpired(span.starts[0] - settings.tombstone_ttl)


def _is_small(keys: IdempotencyKeyQuerySet) -> bool:
    return _beyond(keys.order_by("-expires"), "expires", COUNTED_ROWS) is None


def _beyond(keys: IdempotencyKeyQuerySet, name: str, number: int) -> Any:
    """Return the field *name* of the first row that is not among the first *number*, or None."""
    return next(iter(keys.values_list(name, flat=True)[number : number + 1]), None)


def _count(keys: IdempotencyKeyQuerySet, spans: Sequence[Span]) -> list[Tally]:
    """Count *keys* in all parts of all *spans* in one query."""
    start = min(span.starts[0] for span in spans)
    shift = (local(start).utcoffset() or timedelta()) % timedelta(hours=1)
    rows = (
        keys.filter(created__gte=start)
        .order_by()
        .annotate(hour=TruncHour(_shifted(shift), tzinfo=UTC))
        .values_list("hour", "status")
        .annotate(number=Count("pk"))
    )
    tallies = [Tally(span=span, counts=[Counter() for _ in span.starts], is_estimate=False) for span in spans]
    for hour, status, number in rows:
        for part in tallies:
            index = bisect(part.span.starts, hour - shift) - 1
            if index >= 0:
                part.counts[index][class_of(status)] += number
    return tallies


# Some zones are a part of an hour away from UTC. MariaDB knows no zone at all unless its tables of them are filled.
def _shifted(shift: timedelta) -> F | ExpressionWrapper[Any]:
    return ExpressionWrapper(F("created") + shift, output_field=DateTimeField()) if shift else F("created")


def local(moment: datetime) -> datetime:
    """Return *moment* by the clock of the current time zone."""
    return timezone.localtime(moment) if timezone.is_aware(moment) else moment


def class_of(status: int | None) -> str:
    """Return `2xx` to `5xx`, or `other`."""
    return f"{status // 100}xx" if status is not None and 200 <= status <= 599 else "other"
