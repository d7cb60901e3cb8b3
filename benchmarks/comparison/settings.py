"""The project that each package is asked in; BENCHMARK_SIDE says which of them guards it."""

import os

from benchmarks.comparison.packages import package
from benchmarks.project.settings import *  # noqa: F403 - the databases, and all that is alike

_guarding = package(os.environ["BENCHMARK_SIDE"])
_redis = os.environ.get("REDIS_URL", "redis://127.0.0.1:6379/9")

# Handlers fail, as they are asked to.
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "handlers": {"console": {"class": "logging.StreamHandler"}},
    "loggers": {
        "django": {"handlers": ["console"], "level": "CRITICAL", "propagate": False},
        "django_idempotency": {"level": "ERROR"},  # Not each refusal.
    },
}
ROOT_URLCONF = "benchmarks.comparison.urls"
INSTALLED_APPS = [
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "rest_framework",
    "benchmarks.project",
    *filter(None, [_guarding.app]),
]
MIDDLEWARE = ["benchmarks.comparison.views.CountingMiddleware", *_guarding.middleware]
REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": ["benchmarks.comparison.authentication.NamedAuthentication"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
}
CACHES = {"default": {"BACKEND": "django.core.cache.backends.redis.RedisCache", "LOCATION": _redis}}

# Of django-idempotency-key: what several processes share.
IDEMPOTENCY_KEY = {
    "STORAGE": {"CLASS": "idempotency_key.storage.CacheKeyStorage"},
    "LOCK": {"CLASS": "idempotency_key.locks.redis.MultiProcessRedisLock", "LOCATION": _redis, "NAME": "comparison"},
}
# Of djangorestframework-idempotency-key, which has no default.
IDEMPOTENCY_KEY_LOCK_TIMEOUT = 60
# Of drf-idempotencykey: one minute, not sixty, so that it can be waited for.
IDEMPOTENCY_KEY_EXPIRATION_MINUTES = 1
# Of drf-idem: the header that all are asked by.
DRF_IDEM = {"HEADER": "HTTP_IDEMPOTENCY_KEY", "CACHE_BACKEND": "default"}
