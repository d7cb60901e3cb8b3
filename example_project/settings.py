"""Settings of the example project. The environment, or a file named `.env`, may set some.

DATABASE_URL     sqlite:///path (the default), postgres://user:password@host:port/name, or
                 mysql://user:password@host:port/name (for MariaDB, too)
DEBUG            true by default: this is an example, served on this machine only
SECRET_KEY       must be set when DEBUG is false
ALLOWED_HOSTS    comma-separated
ORDERS_URL       amqp://… or nats://…: where `manage.py consume_orders` finds orders
CELERY_BROKER_URL
BANK_URL         where the shop finds the bank, which is another process: see example_project/bank/
BANK_TOKEN       what the shop shows to it
CHECKOUT_LEASE   seconds
"""

from datetime import timedelta
from pathlib import Path
from typing import Any

import environ

BASE_DIR = Path(__file__).resolve().parent.parent

env = environ.Env()
env.read_env(BASE_DIR / ".env")

DEBUG = env.bool("DEBUG", default=True)
SECRET_KEY = env.str("SECRET_KEY", default="for-development-only-" + "x" * 40 if DEBUG else env.NOTSET)
ALLOWED_HOSTS = env.list("ALLOWED_HOSTS", default=["127.0.0.1", "localhost", "[::1]"])

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "rest_framework",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "rest_framework.authtoken",
    "django_idempotency",
    "example_project.payments",
    "example_project.orders",
    "example_project.shop",
    "example_project.demo",
]

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]

ROOT_URLCONF = "example_project.urls"
WSGI_APPLICATION = "example_project.wsgi.application"
ASGI_APPLICATION = "example_project.asgi.application"

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


def database(variable: str, path: Path) -> dict[str, Any]:
    """Return the settings of the database whose URL the environment's *variable* has, else a file at *path*."""
    config: dict[str, Any] = env.db(variable, default=f"sqlite:///{path}")
    if config["ENGINE"] == "django.db.backends.sqlite3":
        # IMMEDIATE takes the write lock when a transaction begins. A deferred one takes it at its first
        # write, and when it has read before, it can't wait for another writer: "database is locked",
        # whatever the timeout. WAL lets readers go on meanwhile.
        config.setdefault("OPTIONS", {}).update(
            transaction_mode="IMMEDIATE",
            timeout=30,
            init_command="PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;",
        )
    else:
        config.update(CONN_MAX_AGE=60, CONN_HEALTH_CHECKS=True)
    return config


DATABASES = {"default": database("DATABASE_URL", BASE_DIR / "db.sqlite3")}

# A retry may come this long after the first request. Other IDEMPOTENCY_* settings: docs/settings.md.
IDEMPOTENCY_TTL = timedelta(hours=24)

REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": [
        "rest_framework.authentication.TokenAuthentication",
        "rest_framework.authentication.SessionAuthentication",
    ],
    "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.IsAuthenticated"],
    "DEFAULT_PAGINATION_CLASS": "rest_framework.pagination.PageNumberPagination",
    "PAGE_SIZE": 50,
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
}
# The page that shows the specification has its scripts from this server: nothing is loaded from elsewhere.
SPECTACULAR_SETTINGS = {
    "TITLE": "Payments",
    "DESCRIPTION": "An API whose requests may be sent again as often as you like: they take effect once.",
    "VERSION": "1",
    "SERVE_INCLUDE_SCHEMA": False,
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
}

LANGUAGE_CODE = "en-us"
TIME_ZONE = "UTC"
USE_TZ = True
STATIC_URL = "static/"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

# Orders that come as messages, and background jobs: see example_project/orders/.
ORDERS_URL = env.str("ORDERS_URL", default="amqp://guest:guest@127.0.0.1:5672//")
CELERY_BROKER_URL = env.str("CELERY_BROKER_URL", default="amqp://guest:guest@127.0.0.1:5672//")

# The payment service of the shop, example_project/shop/: the bank, a project of its own.
BANK_URL = env.str("BANK_URL", default="http://127.0.0.1:8100")
BANK_TOKEN = env.str("BANK_TOKEN", default="for-development-only")
# Seconds after which another process may go on with the checkout of one that has died.
CHECKOUT_LEASE = env.float("CHECKOUT_LEASE", default=30.0)

# `manage.py send_receipts` shows the mails that it would send.
EMAIL_BACKEND = "django.core.mail.backends.console.EmailBackend"

# Set by `manage.py demo` for the server that it starts: see example_project/demo/crash.py.
DEMO_CRASH_DIRECTORY = env.str("DEMO_CRASH_DIRECTORY", default="")
