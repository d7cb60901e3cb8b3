"""The example project, whose API takes no notice of keys."""

from example_project.settings import *  # noqa: F403 - settings are made this way

IDEMPOTENCY_METHODS: list[str] = []
