"""Gunicorn as storms need it."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pytest
from django.db import connections

from tests.server import GUNICORN, Server, running

COMMAND = (
    *(*GUNICORN, "--threads=4", "--worker-connections=4"),
    "--env=DJANGO_SETTINGS_MODULE=tests.faults.settings",
)


@contextmanager
def serving(settings: Mapping[str, Any] | None = None) -> Iterator[Server]:
    """Run gunicorn, with *settings* in place of those of the test database."""
    settings = dict(settings or {})
    if connections["default"].vendor == "postgresql":
        # A second is what it takes by itself to look for a deadlock: a storm has many.
        options = dict(settings.get("OPTIONS", {}))
        options["options"] = f"-c deadlock_timeout=20ms {options.get('options', '')}".strip()
        settings["OPTIONS"] = options
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FAULTS_DATABASE", json.dumps(settings))
        with running(COMMAND) as server:
            yield server
