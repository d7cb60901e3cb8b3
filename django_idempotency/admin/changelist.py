"""The list: bounded in what it reads, whatever is asked of it; see Note [No page scans the table]."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any, cast

from django.conf import settings
from django.contrib.admin.views.main import PAGE_VAR, ChangeList
from django.core.paginator import Paginator
from django.utils import timezone
from django.utils.dateparse import parse_datetime
from django.utils.functional import cached_property

from django_idempotency.admin import windows
from django_idempotency.admin.filters import ChoiceFilter, WindowPosition
from django_idempotency.admin.search import find
from django_idempotency.admin.windows import Window, count, sorted_after_search

if TYPE_CHECKING:
    from django.http import HttpRequest

    from django_idempotency.admin.columns import Columns
    from django_idempotency.models import IdempotencyKeyQuerySet

    Pages = Paginator[Any]
else:
    Pages = Paginator


class BoundedPaginator(Pages):
    """Pages of the first LISTED_ROWS rows; the rest is not even counted."""

    @cached_property
    def count(self) -> int:
        return min(self._counted, windows.LISTED_ROWS)

    @property
    def is_cut(self) -> bool:
        """Tell whether there are more rows than pages."""
        return self._counted > windows.LISTED_ROWS

    @cached_property
    def _counted(self) -> int:
        return count(cast("IdempotencyKeyQuerySet", self.object_list))


class KeyChangeList(ChangeList):
    """The list of keys; `window` is set where it shows a part of the table only."""

    window: Window | None
    root_queryset: IdempotencyKeyQuerySet

    def get_queryset(self, request: HttpRequest, exclude_parameters: Any = None) -> Any:
        keys: Any = super().get_queryset(request, exclude_parameters)
        before = _moment(request.GET.get(WindowPosition.parameter_name))
        needs_window = before is not None or self.has_active_filters
        if self.query:
            found = find(self.root_queryset, self.query.strip(), request=request, site=self.model_admin.admin_site)
            keys = found.narrow(keys)
            needs_window = found.is_cut
            if not found.is_cut:
                keys = keys.order_by(*sorted_after_search(*keys.query.order_by))
        self.window = Window.of(self._bounded(), before=before) if needs_window else None
        return self.window.narrow(keys) if self.window else keys

    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        cast("Columns", self.model_admin).with_users(self.result_list, request)

    @cached_property
    def older(self) -> str | None:
        """Return the address of what is not on these pages, from where they end, or None if they hold everything."""
        end = self.window.after if self.window else None
        if self.paginator.is_cut:
            end = self.queryset.values_list("expires", flat=True)[windows.LISTED_ROWS - 1]
        return None if end is None else self._at(end)

    @cached_property
    def latest(self) -> str | None:
        """Return the address of the first pages, or None if these are."""
        return self._at(None) if self.window and self.window.before else None

    def _at(self, before: datetime | None) -> str:
        return self.get_query_string({WindowPosition.parameter_name: before and before.isoformat(), PAGE_VAR: None})

    def _bounded(self) -> IdempotencyKeyQuerySet:
        """Return the keys that the filters ask for, as far as the index on their expiry can tell."""
        keys = self.root_queryset
        for spec in self.filter_specs:
            if isinstance(spec, ChoiceFilter):
                keys = spec.bounded(keys)
        return keys


def _moment(text: str | None) -> datetime | None:
    try:
        moment = parse_datetime(text or "")
    except ValueError:
        return None
    return moment if moment is None or timezone.is_aware(moment) == settings.USE_TZ else None
