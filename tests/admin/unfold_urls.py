"""The page as it registers itself, and one that is styled as unfold's documentation says."""

from django.contrib import admin
from django.contrib.auth.models import User
from django.urls import path
from unfold.admin import ModelAdmin
from unfold.sites import UnfoldAdminSite

from django_idempotency.admin import IdempotencyKeyAdmin
from django_idempotency.models import IdempotencyKey


class StyledAdmin(IdempotencyKeyAdmin, ModelAdmin):  # type: ignore[misc]  # unfold comes without types
    """The page with unfold's widgets."""


styled = UnfoldAdminSite(name="styled")
styled.register(IdempotencyKey, StyledAdmin)
styled.register(User)

urlpatterns = [path("admin/", admin.site.urls), path("styled/", styled.urls)]
