"""The project that is measured.

BENCHMARK_URL says where its server is, BENCHMARK_DATABASE what its own database there is called (for SQLite: the file,
and the name of one beside it), and BENCHMARK_SIDE whose middleware each request passes.
"""

import os
from pathlib import Path

from environ import Env

from benchmarks.project.sides import OURS_UNPREPARED, sides

_server = Env.db_url_config(os.environ["BENCHMARK_URL"])
_own = {**_server, "NAME": os.environ["BENCHMARK_DATABASE"], "CONN_MAX_AGE": None}
if _own["ENGINE"].endswith("sqlite3"):
    _own["NAME"] = str(Path(_server["NAME"]).with_name(f"{_own['NAME']}.sqlite3"))
    _own["OPTIONS"] = {
        "transaction_mode": "IMMEDIATE",
        "timeout": 30,
        "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;",
    }
if os.environ.get("BENCHMARK_SIDE") == OURS_UNPREPARED.name:
    _own["OPTIONS"] = {**_own.get("OPTIONS", {}), "prepare_threshold": None}
DATABASES = {"default": _own, "server": _server}

# Without DEBUG, Django would mail errors instead of writing them.
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "handlers": {"console": {"class": "logging.StreamHandler"}},
    "loggers": {
        "django": {"handlers": ["console"], "level": "ERROR", "propagate": False},
        "django_idempotency": {"level": "ERROR"},  # Not each refusal.
    },
}
SECRET_KEY = "benchmarks"
ALLOWED_HOSTS = ["*"]
USE_TZ = True
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
ROOT_URLCONF = "benchmarks.project.urls"
STATIC_URL = "static/"

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.messages",
    "django.contrib.sessions",
    "django.contrib.staticfiles",
    "rest_framework",
    "benchmarks.project",
    *dict.fromkeys(side.app for side in sides() if side.app),
]
MIDDLEWARE = next(
    (list(side.middleware) for side in sides() if side.name == os.environ.get("BENCHMARK_SIDE")),
    [],
)
# Of the admin's pages, and of nothing else that is measured.
ADMIN_MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
]
SILENCED_SYSTEM_CHECKS = ["admin.E408", "admin.E409", "admin.E410"]
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
REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": ["benchmarks.project.authentication.TokenAuthentication"],
    "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.IsAuthenticated"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_PARSER_CLASSES": ["rest_framework.parsers.JSONParser", "rest_framework.parsers.MultiPartParser"],
}
# The peers'.
IDEMPOTENCY_KEY_LOCK_TIMEOUT = 60
IDEMPOTENCY = {"BACKEND": "drf_idempotency.backends.database.DatabaseBackend"}
