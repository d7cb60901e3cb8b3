"""Search: what a person may have at hand (a key, a row's digest from the log, a scope, a user's name), in an index."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from django_idempotency.admin import windows
from django_idempotency.admin.users import scopes_of

if TYPE_CHECKING:
    from django.contrib.admin import AdminSite
    from django.http import HttpRequest

    from django_idempotency.models import IdempotencyKeyQuerySet


Narrow = Callable[["IdempotencyKeyQuerySet"], "IdempotencyKeyQuerySet"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """How to select the rows that were asked for, and whether they are more than can be listed."""

    narrow: Narrow
    is_cut: bool


def find(keys: IdempotencyKeyQuerySet, term: str, *, request: HttpRequest, site: AdminSite) -> Found:
    """Find those of *keys* that are spelled *term*; if there are none, that with this digest, or this scope or user."""
    for narrow in _ways(term, request=request, site=site):
        number = windows.count(narrow(keys))
        if number:
            break
    return Found(narrow=narrow, is_cut=number > windows.LISTED_ROWS)


def _ways(term: str, *, request: HttpRequest, site: AdminSite) -> Iterator[Narrow]:
    yield lambda keys: keys.with_key(term)
    with suppress(ValueError):
        digest = uuid.UUID(term)
        yield lambda keys: keys.filter(pk=digest)
    scopes = [term, *scopes_of(term, request=request, site=site)]
    yield lambda keys: keys.filter(scope__in=scopes)
