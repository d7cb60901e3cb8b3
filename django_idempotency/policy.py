"""How one endpoint is guarded: the arguments of the decorator and the mixin."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.http.response import HttpResponseBase

from django_idempotency.conf import as_timedelta, lowered_headers, settings
from django_idempotency.exceptions import UsageError


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """How one endpoint is guarded. What is None is asked of the settings, at each request.

    Raises:
        UsageError: An argument cannot be meant; the message names it and says what it takes.
    """

    required: bool | None = None
    ttl: timedelta | float | None = None
    wait: float | None = None
    scope: Callable[[Any], str] | None = None
    methods: Collection[str] | None = None
    using: str | None = None
    reruns: int = 0
    stored_statuses: Collection[int] | None = None
    stored_headers: Collection[str] | None = None
    max_response_bytes: int | None = None
    ignored_fields: Collection[str] = ()
    key_validator: Callable[[str], object] | None = None

    def __post_init__(self) -> None:
        for name, problem in find_problems(self):
            raise UsageError(f"{name} {problem}")

    def guards(self, method: str | None) -> bool:
        """Tell whether requests with this HTTP *method* are guarded."""
        return method in (settings.methods if self.methods is None else self.methods)

    def is_required(self) -> bool:
        """Tell whether a request without a key is refused."""
        return settings.required if self.required is None else self.required

    def get_ttl(self) -> timedelta:
        """Return how long a key is remembered."""
        return settings.ttl if self.ttl is None else as_timedelta(self.ttl)

    def get_wait(self) -> float:
        """Return how many seconds a concurrent request waits for the first one's answer."""
        return settings.wait if self.wait is None else self.wait

    def get_max_response_bytes(self) -> int:
        """Return the size, in bytes, of the largest body that is stored."""
        return settings.max_response_bytes if self.max_response_bytes is None else self.max_response_bytes

    def get_stored_headers(self) -> frozenset[str]:
        """Return the names, in lower case, of the headers that are stored."""
        return settings.stored_headers if self.stored_headers is None else lowered_headers(self.stored_headers)

    def stores(self, response: HttpResponseBase) -> bool:
        """Tell whether *response* is stored with its effects; if not, both are forgotten."""
        statuses = settings.stored_statuses if self.stored_statuses is None else self.stored_statuses
        return response.status_code in statuses


def find_problems(policy: Policy) -> Iterable[tuple[str, str]]:
    """Yield the name of each argument that cannot be meant, and what it must be instead."""
    if policy.required is not None and not isinstance(policy.required, bool):
        yield "required", f"must be True or False, not {policy.required!r}."
    if policy.ttl is not None and not _is_duration(policy.ttl):
        yield "ttl", f"must be a positive timedelta or number of seconds, not {policy.ttl!r}."
    if policy.wait is not None and not (_is_number(policy.wait) and policy.wait >= 0):
        yield "wait", f"must be a number of seconds, 0 or more, not {policy.wait!r}."
    if policy.scope is not None and not callable(policy.scope):
        yield "scope", f"must be a callable that takes the request and returns a str, not {policy.scope!r}."
    if policy.methods is not None and not _is_methods(policy.methods):
        yield (
            "methods",
            f"must be a collection of HTTP methods in upper case, such as ('POST',), not {policy.methods!r}.",
        )
    if policy.using is not None and not isinstance(policy.using, str):
        yield "using", f"must be the alias of a database, not {policy.using!r}."
    if not (isinstance(policy.reruns, int) and policy.reruns >= 0):
        yield "reruns", f"must be a whole number, 0 or more, not {policy.reruns!r}."
    if policy.stored_statuses is not None and not _is_statuses(policy.stored_statuses):
        yield "stored_statuses", f"must be a collection of HTTP statuses (200 to 599), not {policy.stored_statuses!r}."
    if policy.stored_headers is not None and not _is_names(policy.stored_headers):
        yield "stored_headers", f"must be a collection of header names, not {policy.stored_headers!r}."
    if policy.max_response_bytes is not None and not _is_size(policy.max_response_bytes):
        yield "max_response_bytes", f"must be a whole number of bytes, 0 or more, not {policy.max_response_bytes!r}."
    if not _is_names(policy.ignored_fields):
        yield "ignored_fields", f"must be a collection of field names, not {policy.ignored_fields!r}."
    if policy.key_validator is not None and not callable(policy.key_validator):
        yield "key_validator", f"must be a callable that takes the key, not {policy.key_validator!r}."


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_duration(value: object) -> bool:
    return (isinstance(value, timedelta) and value > timedelta(0)) or (_is_number(value) and value > 0)  # type: ignore[operator]  # a number


def _is_size(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_names(value: object) -> bool:
    return isinstance(value, Collection) and not isinstance(value, str) and all(isinstance(name, str) for name in value)


def _is_methods(value: object) -> bool:
    return _is_names(value) and all(name.isupper() for name in value)  # type: ignore[attr-defined]  # a collection of str


def _is_statuses(value: object) -> bool:
    return isinstance(value, Collection) and all(isinstance(status, int) and 200 <= status <= 599 for status in value)
