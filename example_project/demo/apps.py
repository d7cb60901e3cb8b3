"""The app as Django sees it."""

from django.apps import AppConfig
from django.conf import settings
from django.db.models.signals import post_save


class DemoConfig(AppConfig):
    """`manage.py demo`: a lossy client against a real server."""

    name = "example_project.demo"

    def ready(self) -> None:
        """Let the demo stop a charge half-way, in the servers that it starts."""
        if getattr(settings, "DEMO_CRASH_DIRECTORY", ""):
            from example_project.demo.crash import stop_if_marked  # noqa: PLC0415  # needs the models

            post_save.connect(stop_if_marked, sender="payments.Charge")
