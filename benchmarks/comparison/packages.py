"""What is compared: one view, behind each package as its own documentation has it."""

from __future__ import annotations

from typing import Final

from benchmarks.project.sides import Side

_VIEWS: Final = "benchmarks.comparison.views"

PACKAGES: Final = (
    Side(name="django-idempotency", view=f"{_VIEWS}.guarded_by_us", app="django_idempotency"),
    Side(
        name="django-idempotency-key",
        view=f"{_VIEWS}.bare",
        middleware=("idempotency_key.middleware.IdempotencyKeyMiddleware",),
    ),
    Side(
        name="djangorestframework-idempotency-key",
        view=f"{_VIEWS}.guarded_by_rest_framework_idempotency_key",
        app="rest_framework_idempotency_key",
        middleware=("rest_framework_idempotency_key.middleware.IdempotencyKeyMiddleware",),
    ),
    Side(
        name="drf-idempotency",
        view=f"{_VIEWS}.bare",
        app="drf_idempotency",
        middleware=("drf_idempotency.middleware.IdempotencyMiddleware",),
    ),
    Side(name="drf-idempotencykey", view=f"{_VIEWS}.guarded_by_drf_idempotencykey", app="drf_idempotencykey"),
    Side(
        name="drf-idem",
        view=f"{_VIEWS}.bare",
        app="drf_idem",
        middleware=("drf_idem.middleware.IdempotencyMiddleware",),
    ),
)


def package(name: str) -> Side:
    """Return the one of this name."""
    (found,) = [each for each in PACKAGES if each.name == name]
    return found
