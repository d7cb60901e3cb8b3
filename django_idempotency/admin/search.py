"""Search: what a person may have at hand (a key, a row's digest from the log, a scope, a user's name), in an index."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from django_idempotency.admin.users import scopes_of

if TYPE_CHECKING:
    from django.contrib.admin import AdminSite
    from django.http import HttpRequest

    from django_idempotency.models import IdempotencyKeyQuerySet


Narrow = Callable[["IdempotencyKeyQuerySet"], "IdempotencyKeyQuerySet"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """How to select the rows that were asked for: by `narrow`, and by `ids` as well, unless they are too many."""

    narrow: Narrow
    ids: list[uuid.UUID] | None


def find(keys: IdempotencyKeyQuerySet, term: str, *, at_most: int, request: HttpRequest, site: AdminSite) -> Found:
    """Find those of *keys* that are spelled *term*; if there are none, that with this digest, or this scope or user."""
    for narrow in _ways(term, request=request, site=site):
        # Note [A search never walks another index]
        # A database that is asked for the rows of a scope in the order of their expiry may walk all rows in that order
        # until it has met enough of the scope's, which may be fewer than it waits for. So it is asked for the primary
        # keys alone, in no order, and then for these rows.
        ids = list(narrow(keys).order_by().values_list("pk", flat=True)[: at_most + 1])
        if ids:
            break
    return Found(narrow=narrow, ids=ids if len(ids) <= at_most else None)


def _ways(term: str, *, request: HttpRequest, site: AdminSite) -> Iterator[Narrow]:
    yield lambda keys: keys.with_key(term)
    with suppress(ValueError):
        digest = uuid.UUID(term)
        yield lambda keys: keys.filter(pk=digest)
    scopes = [term, *scopes_of(term, request=request, site=site)]
    yield lambda keys: keys.filter(scope__in=scopes)
