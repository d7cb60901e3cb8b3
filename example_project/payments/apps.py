"""The app as Django sees it."""

from django.apps import AppConfig

from django_idempotency import prometheus


class PaymentsConfig(AppConfig):
    """Accounts, and what moves their balances."""

    name = "example_project.payments"

    def ready(self) -> None:
        """Count outcomes for Prometheus."""
        prometheus.connect()
