from django.apps import AppConfig


class PaymentsConfig(AppConfig):
    """Its label leaves `payments` to the example project's application."""

    name = "tests.docs.payments"
    label = "documentation"
