"""The plugin, loaded as the package's entry point loads it; it may be there already."""

import pytest


def pytest_configure(config: pytest.Config) -> None:
    if not config.pluginmanager.hasplugin("django_idempotency"):
        config.pluginmanager.import_plugin("django_idempotency.testing.plugin")
