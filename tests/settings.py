"""Settings of the test suite; DATABASE_URL chooses the engine, SQLite without it.

A server that a test starts gets the names of the test databases in TEST_DATABASES, as JSON.
"""

import atexit
import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

from environ import Env


def sqlite_url() -> str:
    """Return the URL of a new file; an in-memory database would be a new one in each thread."""
    directory = tempfile.mkdtemp(prefix="idempotency-")
    owner = os.getpid()

    def remove() -> None:
        if os.getpid() == owner:
            shutil.rmtree(directory, ignore_errors=True)

    atexit.register(remove)
    return f"sqlite:///{directory}/db.sqlite3"


def database(alias: str) -> dict[str, Any]:
    """Return the settings of *alias*: one server (or directory), one database an alias."""
    config: dict[str, Any] = Env.db_url_config(os.environ["DATABASE_URL"])
    name = os.environ.get("TEST_DATABASE_NAME", "test_idempotency")
    if alias != "default":
        name = f"{name}_{alias}"
    if config["ENGINE"] == "django.db.backends.sqlite3":
        name = str(Path(config["NAME"]).with_name(f"{name}.sqlite3"))
        # What is thrown away need not survive a loss of power.
        config["OPTIONS"] = {
            "transaction_mode": "IMMEDIATE",
            "timeout": 120,
            "init_command": "PRAGMA synchronous = OFF",
        }
    # A socket's directory comes as an option of the URL; it must stay where other options take their place.
    if host := config.get("OPTIONS", {}).pop("host", None):
        config["HOST"] = host
    config["TEST"] = {"NAME": name}
    # Like in production, a thread's connection outlives its requests: what one of them
    # leaves behind in the session, the next one meets.
    config["CONN_MAX_AGE"] = 60
    # Sessions of servers that all tests share are cut by those that cut at random.
    config["CONN_HEALTH_CHECKS"] = True
    if "TEST_DATABASES" in os.environ:
        config["NAME"] = json.loads(os.environ["TEST_DATABASES"])[alias]
    return config


if not os.environ.get("DATABASE_URL"):
    os.environ["DATABASE_URL"] = sqlite_url()

DATABASES = {alias: database(alias) for alias in ("default", "other")}

# Without DEBUG, Django would mail errors instead of writing them.
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "handlers": {"console": {"class": "logging.StreamHandler"}},
    "loggers": {"django": {"handlers": ["console"], "level": "WARNING"}},
}
SECRET_KEY = "tests"
ALLOWED_HOSTS = ["*"]
DEBUG = False
USE_TZ = True
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
ROOT_URLCONF = "tests.urls"
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.messages",
    "django.contrib.sessions",
    "django.contrib.staticfiles",
    "rest_framework",
    "drf_spectacular",
    "django_idempotency",
    "tests.app",
    "tests.admin.people",
    "tests.docs.payments",
]
MIDDLEWARE = [
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "tests.app.middleware.BasicAuthenticationMiddleware",
]
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    },
]
STATIC_URL = "static/"

REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": ["rest_framework.authentication.BasicAuthentication"],
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
}

# Django's, from 6.0 on.
TASKS = {
    "default": {"BACKEND": "django.tasks.backends.immediate.ImmediateBackend"},
    "deferring": {"BACKEND": "tests.jobs.django_queue.DeferringBackend"},
}
