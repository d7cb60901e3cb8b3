"""The app as Django sees it."""

from django.apps import AppConfig


class PaymentsConfig(AppConfig):
    """Accounts, and what moves their balances."""

    name = "example_project.payments"
