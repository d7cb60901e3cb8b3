"""How one endpoint is guarded: the arguments of the decorator and the mixin."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.http.response import HttpResponseBase

from django_idempotency.conf import as_timedelta, lowered_headers, settings
from django_idempotency.exceptions import UsageError
from django_idempotency.requirements import REQUIREMENTS


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
    steps: bool = False
    lease: timedelta | float | None = None
    keep_request: bool | Collection[str] = False

    def __post_init__(self) -> None:
        for name in self.__slots__:
            value = getattr(self, name)
            if value is not None and not REQUIREMENTS[name].accepts(value):
                raise UsageError(f"{name} must be {REQUIREMENTS[name].words}, not {value!r}.")
        if not self.steps and (self.lease is not None or self.keep_request):
            raise UsageError(
                "lease and keep_request are for operations of several steps. Leave them out, or add steps=True."
            )
        if self.steps and self.required is False:
            raise UsageError(
                "An operation of several steps needs a key to be taken up by after a crash. Leave required=False out."
            )

    def guards(self, method: str | None) -> bool:
        """Tell whether requests with this HTTP *method* are guarded."""
        return method in (settings.methods if self.methods is None else self.methods)

    def is_required(self) -> bool:
        """Tell whether a request without a key is refused."""
        return self.steps or (settings.required if self.required is None else self.required)

    def get_ttl(self) -> timedelta:
        """Return how long a key is remembered."""
        return settings.ttl if self.ttl is None else as_timedelta(self.ttl)

    def get_lease(self) -> timedelta:
        """Return how long an operation of several steps waits for a worker that has died."""
        return settings.lease if self.lease is None else as_timedelta(self.lease)

    def get_kept_headers(self) -> Collection[str]:
        """Return the names of the headers that are kept with a request, besides the usual ones."""
        return () if isinstance(self.keep_request, bool) else self.keep_request

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
        return self.stores_status(response.status_code)

    def stores_status(self, status: int) -> bool:
        """Tell whether responses with this HTTP *status* are stored."""
        return status in (settings.stored_statuses if self.stored_statuses is None else self.stored_statuses)
