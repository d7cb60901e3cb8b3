"""What the page of one key says besides its fields: its time line, its response, its neighbours."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import chain
from typing import TYPE_CHECKING, Final

from django.contrib.admin.models import LogEntry
from django.contrib.contenttypes.models import ContentType
from django.db.models import BinaryField
from django.db.models.functions import Substr
from django.utils.formats import number_format
from django.utils.translation import gettext as _

from django_idempotency.admin.bodies import HEAD_SIZE, Preview, preview
from django_idempotency.admin.states import is_lasting

if TYPE_CHECKING:
    from django_idempotency.models import IdempotencyKey, IdempotencyKeyQuerySet

# How many entries of the admin's log are shown.
_LOG_ENTRIES: Final = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """A line of the time line; `note` says who did it, or how long it took."""

    time: datetime
    what: str
    note: str = ""


def timeline(
    key: IdempotencyKey, *, now: datetime, tombstone_ttl: timedelta, besides: Iterable[Event] = ()
) -> list[Event]:
    """Return what happened to *key*, and what will, in order; and what happened *besides*."""
    events = chain(_milestones(key, now=now, tombstone_ttl=tombstone_ttl), besides, _logged(key))
    return sorted(events, key=lambda event: event.time)


def _milestones(key: IdempotencyKey, *, now: datetime, tombstone_ttl: timedelta) -> Iterator[Event]:
    yield Event(time=key.created, what=_("Claimed"))
    if key.completed is not None:
        yield Event(time=key.completed, what=_("Completed"), note=_duration(key.completed - key.created))
    if is_lasting(key):
        return
    yield Event(time=key.expires, what=_("Expires") if key.expires > now else _("Expired"))
    if tombstone_ttl:
        end = key.expires + tombstone_ttl
        yield Event(time=end, what=_("Is forgotten") if end > now else _("Forgotten"))


def _logged(key: IdempotencyKey) -> Iterator[Event]:
    entries = LogEntry.objects.filter(
        content_type=ContentType.objects.get_for_model(key), object_id=str(key.pk)
    ).select_related("user")
    for entry in entries[:_LOG_ENTRIES]:
        yield Event(time=entry.action_time, what=entry.get_change_message(), note=entry.user.get_username())


def _duration(duration: timedelta) -> str:
    seconds = duration.total_seconds()
    if seconds < 1:
        return _("after %(number)s ms") % {"number": number_format(seconds * 1000, 0)}
    return _("after %(number)s s") % {"number": number_format(seconds, 1)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Body:
    """A stored body: its size, and what is shown of it."""

    size: int
    preview: Preview


def body_of(keys: IdempotencyKeyQuerySet, key: IdempotencyKey, *, size: int) -> Body:
    """Read the beginning of *key*'s stored body, which has *size* bytes."""
    head = Substr("body", 1, HEAD_SIZE, output_field=BinaryField())
    content = keys.filter(pk=key.pk).values_list(head, flat=True).first()
    return Body(size=size, preview=preview(bytes(content or b""), size=size, headers=key.headers))
