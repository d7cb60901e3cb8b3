"""The app as Django sees it."""

from django.apps import AppConfig


class OrdersConfig(AppConfig):
    """Orders that come as messages, and jobs; without models of its own."""

    name = "example_project.orders"
