"""Bounded ranges of the index on the expiry.

Note [No page scans the table]
The expiry, the primary key and the scope have indexes. Anything else that keys are narrowed by is looked for in a
window: a fixed number of rows in the order of their expiry. The page says so, and links to the window before it.
"""

from __future__ import annotations

from bisect import bisect
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from django_idempotency.models import IdempotencyKey, IdempotencyKeyQuerySet

# How many rows a window has, and how many of those that are found can be paged through.
WINDOW_ROWS: Final = 50_000
LISTED_ROWS: Final = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """Rows by their expiry: those up to *before*, if it is set, and after *after*, unless none are left there."""

    before: datetime | None
    after: datetime | None

    @classmethod
    def of(cls, keys: IdempotencyKeyQuerySet, *, before: datetime | None) -> Window:
        """Return the window of the last *keys* to expire, or of those that expire up to *before*."""
        if before is not None:
            keys = keys.filter(expires__lte=before)
        expiries = keys.order_by("-expires").values_list("expires", flat=True)
        return cls(before=before, after=next(iter(expiries[WINDOW_ROWS : WINDOW_ROWS + 1]), None))

    @classmethod
    def around(cls, keys: IdempotencyKeyQuerySet, expires: datetime) -> Window:
        """Return the window that has *expires* in its middle."""
        later = keys.filter(expires__gt=expires).order_by("expires").values_list("expires", flat=True)
        half = WINDOW_ROWS // 2
        return cls.of(keys, before=next(iter(later[half : half + 1]), None))

    def narrow(self, keys: IdempotencyKeyQuerySet) -> IdempotencyKeyQuerySet:
        """Return those of *keys* that are in the window."""
        if self.before is not None:
            keys = keys.filter(expires__lte=self.before)
        return keys if self.after is None else keys.filter(expires__gt=self.after)


def neighbours(keys: IdempotencyKeyQuerySet, key: IdempotencyKey, *, number: int) -> IdempotencyKeyQuerySet:
    """Return at most *number* keys of *key*'s scope that expire before it, and as many that expire after it.

    Where a scope has more keys than can be listed, only those in the windows on both sides are found.
    """
    others = keys.filter(scope=key.scope).exclude(pk=key.pk)
    places = list(others.order_by().values_list("expires", "pk")[: LISTED_ROWS + 1])
    if len(places) > LISTED_ROWS:
        near = Window.around(keys, key.expires).narrow(others).values_list("expires", "pk")
        places = [
            *near.filter(expires__lte=key.expires).order_by("-expires")[:number],
            *near.filter(expires__gt=key.expires).order_by("expires")[:number],
        ]
    places.sort()
    middle = bisect(places, (key.expires, key.pk))
    chosen = places[max(0, middle - number) : middle + number]
    return keys.filter(pk__in=[pk for _expires, pk in chosen]).order_by("-expires")
