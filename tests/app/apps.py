"""The app with the views and models under test."""

import os

from django.apps import AppConfig


class TestsConfig(AppConfig):
    """Let TEST_CLAIM name the function of django_idempotency.claims that claims, whatever the engine."""

    name = "tests.app"

    def ready(self) -> None:
        if name := os.environ.get("TEST_CLAIM"):
            from django_idempotency import claims

            claims.CLAIMERS.update(dict.fromkeys(claims.CLAIMERS, getattr(claims, name)))
