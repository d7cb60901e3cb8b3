"""The application of tests.asgi with tests.http.bare_settings."""

import os

os.environ["DJANGO_SETTINGS_MODULE"] = "tests.http.bare_settings"

from tests.asgi import application

__all__ = ["application"]
