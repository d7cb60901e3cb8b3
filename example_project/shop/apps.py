"""The app as Django sees it."""

from django.apps import AppConfig


class ShopConfig(AppConfig):
    """A shop whose money is at a bank: another process, with a database of its own."""

    name = "example_project.shop"
