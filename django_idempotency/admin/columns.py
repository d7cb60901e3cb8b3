"""What the pages show of a key, column by column; none of it loads the body."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.template.defaultfilters import filesizeformat
from django.utils import timezone
from django.utils.formats import date_format
from django.utils.html import format_html
from django.utils.translation import gettext_lazy as _

from django_idempotency.admin.operations import states_of
from django_idempotency.admin.states import State, is_lasting, state_of
from django_idempotency.admin.tallies import local
from django_idempotency.admin.users import users_of
from django_idempotency.conf import settings

if TYPE_CHECKING:
    from collections.abc import Iterable

    from django.http import HttpRequest

    from django_idempotency.models import IdempotencyKey

# The longest key, scope and path that are shown whole in the list.
_KEY_LENGTH = 13
_SCOPE_LENGTH = 30
_PATH_LENGTH = 36


class Columns:
    """Display methods. Only the expiry has an index to sort by, so that it alone can be sorted by."""

    admin_site: admin.AdminSite

    @admin.display(description=_("key"))
    def short_key(self, key: IdempotencyKey) -> str:
        return _shortened(key.key, _KEY_LENGTH, css="idempotency-short")

    @admin.display(description=_("key"))
    def full_key(self, key: IdempotencyKey) -> str:
        return format_html('<span class="idempotency-code">{}</span>', key.key)

    @admin.display(description=_("scope"))
    def owner(self, key: IdempotencyKey) -> str:
        user = getattr(key, "scope_user", None)
        scope = _shortened(key.scope, _SCOPE_LENGTH)
        if user is None:
            return scope
        link = format_html('<a class="idempotency-link" href="{}">{}</a>', user.url, user.name)
        return format_html('{} <span class="idempotency-quiet">{}</span>', link, scope)

    @admin.display(description=_("request"))
    def operation(self, key: IdempotencyKey) -> str:
        return format_html("{} {}", key.method, _shortened(key.path, _PATH_LENGTH))

    @admin.display(description=_("request"))
    def full_operation(self, key: IdempotencyKey) -> str:
        return format_html('<span class="idempotency-code">{} {}</span>', key.method, key.path)

    @admin.display(description=_("status"))
    def answer(self, key: IdempotencyKey) -> int | None:
        return key.status

    @admin.display(description=_("state"))
    def state(self, key: IdempotencyKey) -> str:
        return _badge(self.state_of(key))

    @admin.display(description=_("state"))
    def explained_state(self, key: IdempotencyKey) -> str:
        state = self.state_of(key)
        return format_html('{} <span class="idempotency-quiet">{}</span>', _badge(state), state.meaning)

    @admin.display(description=_("created"))
    def created_at(self, key: IdempotencyKey) -> str:
        return _time(key.created, "j M H:i")

    @admin.display(description=_("expires"), ordering="expires")
    def expires_at(self, key: IdempotencyKey) -> str | None:
        return None if is_lasting(key) else _time(key.expires, "j M H:i")

    @admin.display(description=_("size"))
    def size(self, key: IdempotencyKey) -> str | None:
        size = self.size_of(key)
        return None if size is None else filesizeformat(size)

    def with_users(self, keys: Iterable[IdempotencyKey], request: HttpRequest) -> list[IdempotencyKey]:
        """Return *keys*, each knowing the user whose it is, as far as the one who asks may, and how far it has come."""
        kept = list(keys)
        users = users_of({key.scope for key in kept}, request=request, site=self.admin_site)
        states = states_of(kept)
        for key in kept:
            key.shown_state = states.get(key.pk)  # type: ignore[attr-defined]  # ours
            key.scope_user = users.get(key.scope)  # type: ignore[attr-defined]  # ours
        return kept

    def row(self, key: IdempotencyKey) -> dict[str, Any]:
        """Return what a table besides the list shows of *key*."""
        return {
            "key": key,
            "short_key": self.short_key(key),
            "owner": self.owner(key),
            "operation": self.operation(key),
            "state": self.state(key),
            "created_at": self.created_at(key),
        }

    def size_of(self, key: IdempotencyKey) -> int | None:
        """Return how many bytes of the response's body are stored, or None if it is not."""
        return key.body_size  # type: ignore[attr-defined,no-any-return]  # annotated

    def state_of(self, key: IdempotencyKey) -> State:
        """Return the state of *key* now."""
        shown: State | None = getattr(key, "shown_state", None)
        now = timezone.now()
        if shown is not None and key.expires > now:
            return shown
        return state_of(
            key,
            is_stored=self.size_of(key) is not None,
            now=now,
            tombstone_ttl=settings.tombstone_ttl,
        )


def _shortened(text: str, length: int, *, css: str = "") -> str:
    """Cut *text* in its middle, and let those who point at it see all of it."""
    if len(text) <= length:
        return format_html('<span class="{}">{}</span>', css, text) if css else text
    half = length // 2
    return format_html('<span class="{}" title="{}">{}…{}</span>', css, text, text[:half], text[-half + 1 :])


def _time(moment: datetime, shown: str) -> str:
    here = local(moment)
    return format_html(
        '<time class="idempotency-short" datetime="{}" title="{}">{}</time>',
        here.isoformat(),
        here.strftime("%Y-%m-%d %H:%M:%S"),
        date_format(here, shown),
    )


def _badge(state: State) -> str:
    return format_html('<span class="idempotency-state idempotency-state-{}">{}</span>', state.name, state.label)
