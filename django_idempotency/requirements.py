"""What an argument may be: the same for the decorator, the mixin and the settings."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

# Longer than anybody remembers, and short of where dates overflow.
_LONGEST: Final = timedelta(days=3650)


@dataclass(frozen=True, slots=True)
class Requirement:
    """A test, and the words for what passes it."""

    accepts: Callable[[Any], bool]
    words: str


def _is_integer(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: Any) -> bool:
    return isinstance(value, float) or _is_integer(value)


def _seconds(value: Any) -> float:
    """Return a duration in seconds, or -1 for what is none."""
    if isinstance(value, timedelta):
        return value.total_seconds()
    return float(value) if _is_number(value) else -1.0


def _is_names(value: Any) -> bool:
    return (
        isinstance(value, Collection) and not isinstance(value, str | bytes) and all(_is_name(name) for name in value)
    )


def _is_name(value: Any) -> bool:
    return isinstance(value, str) and value != ""


def _has_credentials(headers: Collection[str]) -> bool:
    return any(name.lower() in {"authorization", "cookie", "proxy-authorization"} for name in headers)


def _is_statuses(value: Any) -> bool:
    return isinstance(value, Collection) and all(_is_integer(status) and 200 <= status <= 599 for status in value)


_BOOLEAN: Final = Requirement(lambda value: isinstance(value, bool), "True or False")
_COUNT: Final = Requirement(lambda value: _is_integer(value) and value >= 0, "a whole number, 0 or more")
_NAMES: Final = Requirement(_is_names, "a collection of names, such as ('Location',)")
_DURATION: Final = Requirement(
    lambda value: 0 < _seconds(value) <= _LONGEST.total_seconds(),
    "a timedelta or a number of seconds, above 0 and up to ten years",
)

REQUIREMENTS: Final[dict[str, Requirement]] = {
    "required": _BOOLEAN,
    "steps": _BOOLEAN,
    "lease": Requirement(
        lambda value: 1 <= _seconds(value) <= 86400, "a timedelta or a number of seconds, from 1 second to a day"
    ),
    "keep_request": Requirement(
        lambda value: isinstance(value, bool) or (_is_names(value) and not _has_credentials(value)),
        "True, False, or a collection of headers to keep besides, such as ('X-Tenant',), and no credentials",
    ),
    "keep_arguments": _BOOLEAN,
    "ttl": _DURATION,
    "purge_overdue": _DURATION,
    "tombstone_ttl": Requirement(
        lambda value: 0 <= _seconds(value) <= _LONGEST.total_seconds(),
        "a timedelta or a number of seconds, from 0 to ten years",
    ),
    "wait": Requirement(lambda value: _is_number(value) and 0 <= value <= 3600, "a number of seconds from 0 to 3600"),
    "scope": Requirement(callable, "a callable that takes the request and returns a str"),
    "key_validator": Requirement(callable, "a callable that takes the key and raises ValueError to refuse it"),
    "methods": Requirement(
        lambda value: _is_names(value) and all(name.isupper() for name in value),
        "a collection of HTTP methods in upper case, such as ('POST',)",
    ),
    "using": Requirement(_is_name, "the alias of a database in DATABASES"),
    "reruns": _COUNT,
    "stored_statuses": Requirement(_is_statuses, "a collection of HTTP statuses from 200 to 599"),
    "stored_headers": _NAMES,
    "max_response_bytes": _COUNT,
    "ignored_fields": _NAMES,
    "reused_status": Requirement(lambda value: _is_integer(value) and value in {409, 422}, "409 or 422"),
    "retry_after": Requirement(lambda value: _is_integer(value) and value > 0, "a whole number of seconds, 1 or more"),
    "documentation_url": Requirement(_is_name, "the address of a page"),
}
