from __future__ import annotations

from importlib import import_module

from django.apps import AppConfig, apps


class IdempotencyConfig(AppConfig):
    """Register the model, its admin page, the system checks, and what describes guarded views."""

    name = "django_idempotency"
    verbose_name = "Idempotency"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from django_idempotency import checks  # noqa: F401, PLC0415 - registers the checks, once the apps are loaded

        if apps.is_installed("drf_spectacular"):
            # By its name: without the extra it cannot be imported.
            import_module("django_idempotency.spectacular")
