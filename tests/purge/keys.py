"""Expired keys in bulk, and what became of them."""

from datetime import datetime, timedelta
from typing import Any

from django.utils import timezone

from django_idempotency.models import IdempotencyKey
from tests.factories import IdempotencyKeyFactory

HOUR = timedelta(hours=1)


def keys(count: int, *, ago: timedelta = HOUR, using: str = "default", **fields: Any) -> datetime:
    """Make keys that expired *ago* and, one after the other, a millisecond later; return when the first one did."""
    first = timezone.now() - ago
    rows = [
        IdempotencyKeyFactory.build(**{"expires": first + timedelta(milliseconds=number), **fields})
        for number in range(count)
    ]
    IdempotencyKey.objects.using(using).bulk_create(rows)
    return first


def names(using: str = "default") -> list[str]:
    """Return the keys that are left, in order of expiry."""
    return list(IdempotencyKey.objects.using(using).order_by("expires", "key").values_list("key", flat=True))


def responses() -> int:
    """Return how many keys have a body or headers."""
    return sum(1 for body, headers in IdempotencyKey.objects.values_list("body", "headers") if body or headers)
