"""The pages besides the list and the key: the confirmation of an action, and the download of a response."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any
from uuid import UUID

from django.contrib import admin, messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.admin.utils import quote
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import path, reverse
from django.utils.translation import gettext as _

from django_idempotency.admin.actions import ACTIONS, ERASE, EXPIRE, MOST_KEYS, Action, perform
from django_idempotency.admin.bodies import extension
from django_idempotency.admin.columns import Columns

if TYPE_CHECKING:
    from django.http import HttpRequest
    from django.urls import URLPattern

    from django_idempotency.models import IdempotencyKey

    Base = admin.ModelAdmin[IdempotencyKey]
else:
    Base = admin.ModelAdmin


class Views(Columns, Base):
    """Actions on the list and on one key, each asked about once more; and the response as a file."""

    confirmation_template = "admin/django_idempotency/idempotencykey/confirmation.html"

    def has_view_response_permission(self, request: HttpRequest) -> bool:
        """Tell whether the one who asks may see stored bodies."""
        return request.user.has_perm("django_idempotency.view_response")

    def has_expire_permission(self, request: HttpRequest) -> bool:
        """Tell whether the one who asks may let keys expire."""
        return EXPIRE.is_allowed(request)

    def has_erase_permission(self, request: HttpRequest) -> bool:
        """Tell whether the one who asks may erase stored responses."""
        return ERASE.is_allowed(request)

    @admin.action(description=EXPIRE.label, permissions=["expire"])
    def expire(self, request: HttpRequest, queryset: Any) -> HttpResponse | None:
        return self.act_on_list(request, EXPIRE, queryset)

    @admin.action(description=ERASE.label, permissions=["erase"])
    def erase(self, request: HttpRequest, queryset: Any) -> HttpResponse | None:
        return self.act_on_list(request, ERASE, queryset)

    def act_on_list(self, request: HttpRequest, action: Action, queryset: Any) -> HttpResponse | None:
        """Ask whether to do *action* to the chosen keys; if that was confirmed, do it."""
        if request.POST.get("confirmed"):
            texts = request.POST.getlist(ACTION_CHECKBOX_NAME)[:MOST_KEYS]
            self._perform(request, action, [UUID(text) for text in texts])
            return None
        keys = list(queryset[: MOST_KEYS + 1])
        if len(keys) > MOST_KEYS:
            text = _("Choose at most %(number)s keys at once.") % {"number": MOST_KEYS}
            self.message_user(request, text, messages.ERROR)
            return None
        return self._ask(request, action, keys, back=request.get_full_path(), is_list=True)

    def action_view(self, request: HttpRequest, object_id: UUID, action: Action) -> HttpResponse:
        """Ask whether to do *action* to one key; if that was confirmed, do it."""
        if not (self.has_view_permission(request) and action.is_allowed(request)):
            raise PermissionDenied
        key = self.get_object(request, str(object_id))
        if key is None:
            raise Http404
        back = self._url("change", quote(key.pk))
        if request.POST.get("confirmed"):
            self._perform(request, action, [key.pk])
            return HttpResponseRedirect(back)
        return self._ask(request, action, [key], back=back, is_list=False)

    def response_view(self, request: HttpRequest, object_id: UUID) -> HttpResponse:
        """Send the stored body as a file: whatever it is, no browser is to show or run it."""
        if not (self.has_view_permission(request) and self.has_view_response_permission(request)):
            raise PermissionDenied
        key = self.get_queryset(request).defer(None).filter(pk=object_id).first()
        if key is None or key.body is None:
            raise Http404
        return HttpResponse(
            bytes(key.body),
            content_type="application/octet-stream",
            headers={
                "Content-Disposition": f'attachment; filename="{key.pk}{extension(key.headers)}"',
                "Content-Security-Policy": "sandbox",
                "X-Content-Type-Options": "nosniff",
                "Cache-Control": "private, no-store",
            },
        )

    def get_urls(self) -> list[URLPattern]:
        """Add the pages of this class to those of every model."""
        protected = self.admin_site.admin_view
        name = f"{self.opts.app_label}_{self.opts.model_name}"
        return [
            *(
                path(
                    f"<uuid:object_id>/{action.name}/",
                    protected(self.action_view),
                    {"action": action},
                    name=f"{name}_{action.name}",
                )
                for action in ACTIONS
            ),
            path("<uuid:object_id>/response/", protected(self.response_view), name=f"{name}_response"),
            *super().get_urls(),
        ]

    def _perform(self, request: HttpRequest, action: Action, ids: Sequence[UUID]) -> None:
        done, left = perform(action, ids, log=lambda key, text: self.log_change(request, key, text))
        if done:
            self.message_user(request, done, messages.SUCCESS)
        if left:
            self.message_user(request, left, messages.WARNING)

    def _ask(
        self, request: HttpRequest, action: Action, keys: Sequence[IdempotencyKey], *, back: str, is_list: bool
    ) -> HttpResponse:
        request.current_app = self.admin_site.name
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "media": self.media,
            "title": action.label,
            "action": action,
            "keys": [self.row(key) for key in self.with_users(keys, request)],
            "back": back,
            "is_list": is_list,
            "checkbox": ACTION_CHECKBOX_NAME,
        }
        return TemplateResponse(request, self.confirmation_template, context)

    def _url(self, page: str, *args: object) -> str:
        name = f"admin:{self.opts.app_label}_{self.opts.model_name}_{page}"
        return reverse(name, args=args, current_app=self.admin_site.name)
