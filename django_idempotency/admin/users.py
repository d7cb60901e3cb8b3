"""From a scope to the user whose it is, as far as the one who asks may know users."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from django.contrib.admin import AdminSite, ModelAdmin
from django.contrib.admin.exceptions import NotRegistered
from django.contrib.admin.utils import quote
from django.contrib.auth import get_user_model
from django.core.exceptions import ValidationError
from django.http import HttpRequest
from django.urls import reverse

# What `django_idempotency.http.scope_of` puts before a user's primary key.
_PREFIX: Final = "user:"


@dataclass(frozen=True, slots=True, kw_only=True)
class ScopeUser:
    """A user as a link."""

    name: str
    url: str


def users_of(scopes: Iterable[str], *, request: HttpRequest, site: AdminSite) -> dict[str, ScopeUser]:
    """Return the users of those *scopes* that are a user's, in one query.

    It is empty if the users are not in this admin *site*, or if the one who asks may not view them.
    """
    user_admin = _user_admin(request, site)
    keys = {key for scope in scopes if (key := _user_key(scope)) is not None}
    if user_admin is None or not keys:
        return {}
    options = user_admin.opts
    view = f"admin:{options.app_label}_{options.model_name}_change"
    users = user_admin.get_queryset(request).filter(pk__in=keys)
    return {
        f"{_PREFIX}{user.pk}": ScopeUser(
            name=user.get_username(), url=reverse(view, args=[quote(user.pk)], current_app=site.name)
        )
        for user in users
    }


def scopes_of(username: str, *, request: HttpRequest, site: AdminSite) -> list[str]:
    """Return the scopes of the users who are called *username*, if the one who asks may view them."""
    user_admin = _user_admin(request, site)
    if user_admin is None:
        return []
    field = get_user_model().USERNAME_FIELD
    users = user_admin.get_queryset(request).filter(**{field: username})
    return [f"{_PREFIX}{key}" for key in users.values_list("pk", flat=True)]


def _user_admin(request: HttpRequest, site: AdminSite) -> ModelAdmin[Any] | None:
    try:
        user_admin = site.get_model_admin(get_user_model())
    except NotRegistered:
        return None
    return user_admin if user_admin.has_view_permission(request) else None


def _user_key(scope: str) -> Any:
    """Return the primary key that *scope* spells, or None if it is not a user's."""
    if not scope.startswith(_PREFIX):
        return None
    text = scope.removeprefix(_PREFIX)
    field = get_user_model()._meta.pk
    try:
        key = field.to_python(text)
        field.run_validators(key)
    except ValidationError:
        return None
    return key if str(key) == text else None
