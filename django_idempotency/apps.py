from __future__ import annotations

from django.apps import AppConfig


class IdempotencyConfig(AppConfig):
    """Register the model, its admin page and the system checks."""

    name = "django_idempotency"
    verbose_name = "Idempotency"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from django_idempotency import checks  # noqa: F401, PLC0415 - registers the checks, once the apps are loaded
