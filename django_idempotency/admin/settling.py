"""A person says what has become of a call to another system: by a permission of its own, and written to the log."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from django import forms
from django.contrib import messages
from django.contrib.admin.utils import quote
from django.core.exceptions import PermissionDenied, ValidationError
from django.http import Http404, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import path
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from django_idempotency import changes, store
from django_idempotency.admin.views import Views
from django_idempotency.journal import child_key, undo_key
from django_idempotency.models import IdempotentStep

if TYPE_CHECKING:
    from django.http import HttpRequest
    from django.urls import URLPattern

_HAPPENED: Final = "yes"


class SettleForm(forms.Form):
    """What has become of a call."""

    outcome = forms.ChoiceField(
        label=gettext_lazy("Has it happened?"),
        choices=[
            (_HAPPENED, gettext_lazy("Yes: it is not made again")),
            ("no", gettext_lazy("No, and it will not: it is made when the request comes again")),
        ],
        widget=forms.RadioSelect,
    )
    result = forms.CharField(
        label=gettext_lazy("If yes, its result, in JSON, as the handler would have recorded it"),
        required=False,
        widget=forms.Textarea(attrs={"rows": 6, "class": "vLargeTextField", "spellcheck": "false"}),
    )

    def __init__(self, *args: Any, needs_result: bool, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.needs_result = needs_result
        if not needs_result:
            del self.fields["result"]

    def clean(self) -> dict[str, Any]:
        """Ask for a result where the call has happened."""
        cleaned: dict[str, Any] = super().clean() or {}
        if self.needs_result and cleaned.get("outcome") == _HAPPENED:
            try:
                cleaned["result"] = json.dumps(json.loads(cleaned.get("result") or ""))
            except (ValueError, RecursionError) as error:
                raise ValidationError({"result": _("Say in JSON what the call has returned, such as {}.")}) from error
        return cleaned


class Settling(Views):
    """The page on which an uncertain call is settled."""

    settle_template = "admin/django_idempotency/idempotencykey/settle.html"

    def has_settle_permission(self, request: HttpRequest) -> bool:
        """Tell whether the one who asks may say what has become of a call."""
        return request.user.has_perm("django_idempotency.settle_outcome")

    def settle_view(self, request: HttpRequest, object_id: UUID, step_id: int) -> HttpResponse:
        """Ask what has become of a call; once that is said, record it."""
        if not (self.has_view_permission(request) and self.has_settle_permission(request)):
            raise PermissionDenied
        key = self.get_object(request, str(object_id))
        steps = IdempotentStep.objects.using(store.database()).uncertain()
        step = steps.filter(pk=step_id, run__key_id=object_id).first()
        if key is None or step is None:
            raise Http404
        back = self._url("change", quote(key.pk))
        needs_result = step.state == IdempotentStep.State.PERMITTED
        form = SettleForm(request.POST or None, needs_result=needs_result)
        if not form.is_valid():
            return self._ask_for_outcome(request, form, step, back=back)
        happened = form.cleaned_data["outcome"] == _HAPPENED
        with changes.settled(step.pk, happened=happened, result=form.cleaned_data.get("result", "")) as settled:
            if settled:
                self.log_change(request, key, _logged(step, happened=happened))
        if settled:
            text = _("It is recorded. The operation goes on when its request comes again.")
            self.message_user(request, text, messages.SUCCESS)
        else:
            text = _("Nothing was recorded: somebody is at the operation, or has settled it.")
            self.message_user(request, text, messages.WARNING)
        return HttpResponseRedirect(back)

    def get_urls(self) -> list[URLPattern]:
        """Add the page to those of every key."""
        name = f"{self.opts.app_label}_{self.opts.model_name}_settle"
        view = self.admin_site.admin_view(self.settle_view)
        return [path("<uuid:object_id>/settle/<int:step_id>/", view, name=name), *super().get_urls()]

    def _ask_for_outcome(
        self, request: HttpRequest, form: SettleForm, step: IdempotentStep, *, back: str
    ) -> HttpResponse:
        request.current_app = self.admin_site.name
        is_undo = step.state == IdempotentStep.State.UNDOING
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "media": self.media,
            "title": _("Settle an uncertain call"),
            "form": form,
            "step": step,
            "is_undo": is_undo,
            "derived_key": undo_key(step.run_id, step.name) if is_undo else child_key(step.run_id, step.name),
            "back": back,
        }
        return TemplateResponse(request, self.settle_template, context)


def _logged(step: IdempotentStep, *, happened: bool) -> str:
    undo = step.state == IdempotentStep.State.UNDOING
    if happened:
        text = _("Settled: the undo of “%(name)s” has happened.") if undo else _("Settled: “%(name)s” has happened.")
    else:
        text = (
            _("Settled: the undo of “%(name)s” has not happened.")
            if undo
            else _("Settled: “%(name)s” has not happened.")
        )
    return text % {"name": step.name}
