"""Bounded ranges of the index on the expiry.

Note [No page scans the table]
The expiry, the primary key and the scope have indexes. Anything else that keys are narrowed by is looked for in a
window: a fixed number of rows in the order of their expiry. The page says so, and links to the window before it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Final

from django.db.models.functions import Coalesce

if TYPE_CHECKING:
    from django.db.models.expressions import OrderBy

    from django_idempotency.models import IdempotencyKey, IdempotencyKeyQuerySet

# How many rows a window has, and how many of those that are found can be paged through.
WINDOW_ROWS: Final = 20_000
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


def count(keys: IdempotencyKeyQuerySet) -> int:
    """Return how many *keys* there are, up to one more than can be listed."""
    return keys.order_by().values("pk")[: LISTED_ROWS + 1].count()


# Note [A search walks no other index]
# A database that is asked for a scope's rows in the order of their expiry may walk all rows in that order until it has
# met as many of the scope's as it was asked for, which may be more than there are. So few rows are put in order by an
# expression that no index has: they are fetched, and then sorted.
def sorted_after_search(*names: str) -> list[OrderBy | str]:
    """Spell an order, such as `-expires`, so that no index serves it."""
    expiry = Coalesce("expires", "created")
    return [{"expires": expiry.asc(), "-expires": expiry.desc()}.get(name, name) for name in names]


def neighbours(keys: IdempotencyKeyQuerySet, key: IdempotencyKey, *, number: int) -> list[IdempotencyKey]:
    """Return at most *number* keys of *key*'s scope that expire after it, and as many that expire before it.

    The last to expire comes first. Where a scope has more keys than can be listed, a window is searched for them.
    """
    others = keys.filter(scope=key.scope)
    ascending, descending = sorted_after_search("expires", "-expires")
    if count(others) > LISTED_ROWS:
        others = Window.around(keys, key.expires).narrow(others)
        ascending, descending = "expires", "-expires"
    later = others.filter(expires__gt=key.expires).order_by(ascending)[:number]
    earlier = others.filter(expires__lte=key.expires).exclude(pk=key.pk).order_by(descending)[:number]
    return [*reversed(later), *earlier]
