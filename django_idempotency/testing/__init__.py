"""Is my endpoint exactly-once? Functions that answer it for a view, a project or a deployed API."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from django_idempotency.testing.answers import Answer
    from django_idempotency.testing.conformance import Check, idempotency_conformance
    from django_idempotency.testing.exactly_once import ExactlyOnce, assert_exactly_once
    from django_idempotency.testing.failures import NotConforming, NotExactlyOnce
    from django_idempotency.testing.races import Race, race

__all__ = [
    "Answer",
    "Check",
    "ExactlyOnce",
    "NotConforming",
    "NotExactlyOnce",
    "Race",
    "assert_exactly_once",
    "idempotency_conformance",
    "race",
]

# Imported when asked for: pytest loads this package in every project that has it, before Django is set up.
_MODULES: Final = {
    "Answer": "answers",
    "Check": "conformance",
    "ExactlyOnce": "exactly_once",
    "NotConforming": "failures",
    "NotExactlyOnce": "failures",
    "Race": "races",
    "assert_exactly_once": "exactly_once",
    "idempotency_conformance": "conformance",
    "race": "races",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
