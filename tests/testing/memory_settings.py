"""SQLite in memory, which is what Django makes of a test database without a name."""

from tests.settings import *  # noqa: F403 - these, but for one

DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}}
