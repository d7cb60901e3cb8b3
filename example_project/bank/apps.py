"""The app as Django sees it."""

from django.apps import AppConfig


class BankConfig(AppConfig):
    """A payment service: another project, in a process and on a database of its own."""

    name = "example_project.bank"
