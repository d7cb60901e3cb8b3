"""The list of keys, and the page of one key."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from django.contrib import admin
from django.contrib.admin.options import IS_POPUP_VAR
from django.contrib.admin.views.main import SEARCH_VAR
from django.db.models.functions import Length
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from django_idempotency import store
from django_idempotency.admin.actions import ACTIONS
from django_idempotency.admin.changelist import BoundedPaginator, KeyChangeList
from django_idempotency.admin.charts import chart_of
from django_idempotency.admin.details import body_of, timeline
from django_idempotency.admin.filters import CreatedFilter, MethodFilter, StateFilter, StatusFilter, WindowPosition
from django_idempotency.admin.operations import events_of, shown_run
from django_idempotency.admin.settling import Settling
from django_idempotency.admin.tallies import days, hours, tally
from django_idempotency.admin.windows import neighbours
from django_idempotency.conf import settings
from django_idempotency.models import IdempotencyKey

if TYPE_CHECKING:
    from django.http import HttpRequest, HttpResponse


@admin.register(IdempotencyKey)
class IdempotencyKeyAdmin(Settling):
    """Keys to look at, to let expire, and to take the response from; nothing else can be changed."""

    list_display = ("short_key", "owner", "operation", "answer", "state", "created_at", "expires_at", "size")
    list_filter = (StateFilter, StatusFilter, MethodFilter, CreatedFilter, WindowPosition)
    list_per_page = 25
    ordering = ("-expires",)
    sortable_by = ("expires_at",)
    paginator = BoundedPaginator
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER
    search_fields = ("key",)
    search_help_text = gettext_lazy("A whole key, digest, scope or user name")
    actions = ("expire", "erase")
    fieldsets = (
        (
            None,
            {
                "fields": (
                    "full_key",
                    "owner",
                    "full_operation",
                    "answer",
                    "explained_state",
                    "namespace",
                    "id",
                    "fingerprint",
                )
            },
        ),
    )
    change_list_template = "admin/django_idempotency/idempotencykey/change_list.html"
    change_form_template = "admin/django_idempotency/idempotencykey/change_form.html"

    class Media:
        css: ClassVar = {"all": ["django_idempotency/admin.css"]}

    # --- Who may do what ---

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Nobody adds keys: requests do."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: IdempotencyKey | None = None) -> bool:
        """Nobody edits keys."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: IdempotencyKey | None = None) -> bool:
        """Nobody deletes keys: they expire, and the purge deletes them."""
        return False

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest | None = None) -> bool:
        """Allow the filters alone: `?body__contains=` would tell of bodies to those who may not see them."""
        return any(_asks(spec, lookup) for spec in self.list_filter)

    # --- The list ---

    def get_queryset(self, request: HttpRequest) -> Any:
        # Where they are written, since a replica may not have them yet.
        keys = super().get_queryset(request).using(store.database())
        return keys.defer("body").annotate(body_size=Length("body"))

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[KeyChangeList]:
        return KeyChangeList

    def get_search_results(self, request: HttpRequest, queryset: Any, search_term: str) -> tuple[Any, bool]:
        """Leave the search to `KeyChangeList`."""
        return queryset, False

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        context = dict(extra_context or {})
        if request.method == "GET" and not {SEARCH_VAR, IS_POPUP_VAR} & request.GET.keys():
            context.update(self.get_charts())
        return super().changelist_view(request, context)

    def get_charts(self) -> dict[str, Any]:
        """Return what is drawn above the list."""
        now = timezone.now()
        tallies = tally(IdempotencyKey.objects.using(store.database()), [hours(now), days(now)])
        if tallies is None:
            return {}
        by_hour, by_day = tallies
        return {
            "idempotency_charts": [
                chart_of(by_hour, name="hours", title=_("Keys per hour, last 24 hours"), date="H:i", every=4),
                chart_of(by_day, name="days", title=_("Keys per day, last 30 days"), date="j M", every=7),
            ]
        }

    # --- One key ---

    def render_change_form(self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        key = context["original"]
        keys = self.get_queryset(request)
        near = neighbours(keys, key, number=10)
        self.with_users([key, *near], request)
        size = self.size_of(key)
        may_see = self.has_view_response_permission(request)
        operation = shown_run(key)
        besides = events_of(operation) if operation else ()
        context.update(
            idempotency={
                "key": key,
                "state": self.state_of(key),
                "timeline": timeline(key, now=timezone.now(), tombstone_ttl=settings.tombstone_ttl, besides=besides),
                "operation": operation,
                "may_settle": self.has_settle_permission(request),
                "may_see_body": may_see,
                "body": body_of(keys, key, size=size) if may_see and size is not None else None,
                "is_stored": size is not None,
                "neighbours": [self.row(each) for each in near],
                "actions": [action for action in ACTIONS if action.is_allowed(request)],
            }
        )
        return super().render_change_form(request, context, *args, **kwargs)


def _asks(spec: Any, lookup: str) -> bool:
    """Tell whether *lookup* is the parameter of a filter, which a project may have spelled as a field, or with one."""
    if isinstance(spec, type):
        return lookup == getattr(spec, "parameter_name", None)
    field = spec if isinstance(spec, str) else spec[0]
    return lookup == field or lookup.startswith(f"{field}__")
