"""Filters with fixed choices: none of them asks the database what there is to choose from."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from django.contrib import admin
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from django_idempotency.admin.windows import LISTED_ROWS
from django_idempotency.conf import settings
from django_idempotency.models import IdempotentRun

if TYPE_CHECKING:
    from django.http import HttpRequest
    from django.utils.functional import _StrOrPromise

    from django_idempotency.models import IdempotencyKeyQuerySet

Narrow = Callable[["IdempotencyKeyQuerySet"], "IdempotencyKeyQuerySet"]


class ChoiceFilter(ABC, admin.SimpleListFilter):
    """A filter by one of a few adjectives."""

    @abstractmethod
    def choices_of(self) -> dict[str, tuple[_StrOrPromise, Narrow]]:
        """Return each choice's label, and how it narrows the keys."""
        ...

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, _StrOrPromise]]:
        return [(value, label) for value, (label, _narrow) in self.choices_of().items()]

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        choice = self.choices_of().get(self.value() or "")
        return choice[1](queryset) if choice else queryset

    def bounded(self, keys: IdempotencyKeyQuerySet) -> IdempotencyKeyQuerySet:
        """Narrow *keys* as far as the index on their expiry can."""
        return keys


class StateFilter(ChoiceFilter):
    title = _("state")
    parameter_name = "state"

    def choices_of(self) -> dict[str, tuple[_StrOrPromise, Narrow]]:
        return {
            "completed": (_("Completed"), lambda keys: keys.replayable()),
            "not_stored": (
                _("Response not stored"),
                lambda keys: keys.unexpired().completed().filter(body__isnull=True),
            ),
            "unfinished": (_("Unfinished"), lambda keys: keys.unexpired().filter(completed__isnull=True)),
            "uncertain": (_("Uncertain"), lambda keys: keys.filter(pk__in=_uncertain(keys))),
            "expired": (_("Expired"), lambda keys: keys.expired()),
        }

    def bounded(self, keys: IdempotencyKeyQuerySet) -> IdempotencyKeyQuerySet:
        if self.value() is None:
            return keys
        return keys.expired() if self.value() == "expired" else keys.unexpired()


def _uncertain(keys: IdempotencyKeyQuerySet) -> list[UUID]:
    # A list: a subquery would be asked for each row of the window.
    uncertain = IdempotentRun.objects.using(keys.db).uncertain().order_by("started")
    return list(uncertain.values_list("key_id", flat=True)[:LISTED_ROWS])


class StatusFilter(ChoiceFilter):
    title = _("status")
    parameter_name = "status"

    def choices_of(self) -> dict[str, tuple[_StrOrPromise, Narrow]]:
        def between(first: int) -> Narrow:
            return lambda keys: keys.filter(status__range=(first, first + 99))

        return {
            **{f"{digit}xx": (f"{digit}xx", between(digit * 100)) for digit in (2, 3, 4, 5)},
            "none": (_("None"), lambda keys: keys.filter(status__isnull=True)),
        }


class MethodFilter(ChoiceFilter):
    title = _("method")
    parameter_name = "method"

    def choices_of(self) -> dict[str, tuple[_StrOrPromise, Narrow]]:
        def equal(method: str) -> Narrow:
            return lambda keys: keys.filter(method=method)

        methods = sorted(settings.methods)
        return {
            **{method: (method, equal(method)) for method in methods},
            "other": (_("Other"), lambda keys: keys.filter(~Q(method__in=methods))),
        }


class CreatedFilter(ChoiceFilter):
    title = _("time of creation")
    parameter_name = "created"

    spans: Final = {
        "hour": (_("Past hour"), timedelta(hours=1)),
        "day": (_("Past 24 hours"), timedelta(days=1)),
        "week": (_("Past 7 days"), timedelta(days=7)),
        "month": (_("Past 30 days"), timedelta(days=30)),
    }

    def choices_of(self) -> dict[str, tuple[_StrOrPromise, Narrow]]:
        def within(span: timedelta) -> Narrow:
            return lambda keys: keys.filter(created__gt=timezone.now() - span)

        return {value: (label, within(span)) for value, (label, span) in self.spans.items()}

    def bounded(self, keys: IdempotencyKeyQuerySet) -> IdempotencyKeyQuerySet:
        # What was created within a time has not expired before it began.
        span = self.spans.get(self.value() or "")
        return keys.unexpired(timezone.now() - span[1]) if span else keys


class WindowPosition(admin.SimpleListFilter):
    """Where the window ends (see `django_idempotency.admin.windows`): a parameter of the list, and no filter to see."""

    title = ""
    parameter_name = "before"

    def lookups(self, request: HttpRequest, model_admin: Any) -> None:
        return None
