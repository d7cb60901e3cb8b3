"""The package's settings: one typed property each, read when it is needed."""

from __future__ import annotations

from collections.abc import Callable, Collection
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final, cast

from django.conf import settings as django_settings
from django.core.signals import setting_changed
from django.utils.functional import cached_property
from django.utils.module_loading import import_string

if TYPE_CHECKING:
    from django.http import HttpRequest

# Statuses that mean "not accepted" or "try again": the client repairs the request, or waits, and sends it again.
UNSTORED_CLIENT_ERRORS: Final = frozenset({400, 401, 403, 408, 409, 422, 425, 429})
DEFAULT_STORED_STATUSES: Final = frozenset(range(200, 500)) - UNSTORED_CLIENT_ERRORS

# What describes the body or points to what was made; nothing that is about the connection, the moment or the user.
DEFAULT_STORED_HEADERS: Final = frozenset(
    {
        "content-type",
        "content-language",
        "content-disposition",
        "content-encoding",
        "location",
        "link",
        "etag",
        "last-modified",
    }
)
# Headers that no setting can add: a replay must not hand out credentials, or lie about the connection.
NEVER_STORED_HEADERS: Final = frozenset(
    {
        "set-cookie",
        "authorization",
        "www-authenticate",
        "proxy-authenticate",
        "proxy-authorization",
        "authentication-info",
        "date",
        "connection",
        "keep-alive",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "content-length",
    }
)


class Settings:
    """The `IDEMPOTENCY_*` settings, each read from Django's settings when it is first used.

    Django looks for a setting that is not there anew each time, which takes longer than all else that is done with it.
    """

    def __init__(self) -> None:
        setting_changed.connect(self._forget)

    @cached_property
    def ttl(self) -> timedelta:
        """How long a key is remembered: a timedelta, or seconds."""
        return as_timedelta(self._get("IDEMPOTENCY_TTL", timedelta(hours=24)))

    @cached_property
    def tombstone_ttl(self) -> timedelta:
        """How much longer than its response a key is remembered: a timedelta, or seconds; 0 for no longer."""
        return as_timedelta(self._get("IDEMPOTENCY_TOMBSTONE_TTL", timedelta(0)))

    @cached_property
    def purge_overdue(self) -> timedelta:
        """How late the purge may be before a system check warns: a timedelta, or seconds."""
        return as_timedelta(self._get("IDEMPOTENCY_PURGE_OVERDUE", timedelta(days=2)))

    @cached_property
    def required(self) -> bool:
        """Whether a guarded endpoint refuses requests without a key."""
        return bool(self._get("IDEMPOTENCY_REQUIRED", False))

    @cached_property
    def wait(self) -> float:
        """How many seconds a concurrent request waits for the first one's answer; 0 refuses it at once."""
        return float(self._get("IDEMPOTENCY_WAIT", 0.0))

    @cached_property
    def lease(self) -> timedelta:
        """How long an operation of several steps waits for a worker that has died: a timedelta, or seconds."""
        return as_timedelta(self._get("IDEMPOTENCY_LEASE", timedelta(seconds=30)))

    @cached_property
    def methods(self) -> frozenset[str]:
        """The HTTP methods that are guarded."""
        return frozenset(self._get("IDEMPOTENCY_METHODS", ("POST", "PATCH")))

    @cached_property
    def scope(self) -> Callable[[HttpRequest], str] | None:
        """Whose keys they are: a callable on the request, or a dotted path to one; None for the user."""
        return cast("Callable[[HttpRequest], str] | None", self._get_callable("IDEMPOTENCY_SCOPE"))

    @cached_property
    def key_validator(self) -> Callable[[str], object] | None:
        """What else a key must be: a callable that raises ValueError, ValidationError or KeyInvalid."""
        return self._get_callable("IDEMPOTENCY_KEY_VALIDATOR")

    @cached_property
    def stored_statuses(self) -> Collection[int]:
        """The response statuses that are stored with their effects; all others roll back."""
        return cast("Collection[int]", self._get("IDEMPOTENCY_STORED_STATUSES", DEFAULT_STORED_STATUSES))

    @cached_property
    def stored_headers(self) -> frozenset[str]:
        """The names, in lower case, of the response headers that are stored."""
        return lowered_headers(self._get("IDEMPOTENCY_STORED_HEADERS", ()))

    @cached_property
    def max_response_bytes(self) -> int:
        """The largest body, in bytes, that is stored."""
        return int(self._get("IDEMPOTENCY_MAX_RESPONSE_BYTES", 2**20))

    @cached_property
    def reused_status(self) -> int:
        """The HTTP status of "same key, other parameters": 409 or 422."""
        return int(self._get("IDEMPOTENCY_REUSED_STATUS", 409))

    @cached_property
    def retry_after(self) -> int:
        """The seconds in Retry-After while the first request is in progress."""
        return int(self._get("IDEMPOTENCY_RETRY_AFTER", 1))

    @cached_property
    def documentation_url(self) -> str:
        """Where the error codes are explained; problem types are this address and the code as its fragment."""
        return str(
            self._get(
                "IDEMPOTENCY_DOCUMENTATION_URL", "https://django-idempotency.readthedocs.io/en/stable/errors.html"
            )
        )

    def _get(self, name: str, default: Any) -> Any:
        value = getattr(django_settings, name, None)
        return default if value is None else value

    def _forget(self, *, setting: str, **kwargs: Any) -> None:  # noqa: ARG002 - as signals are received
        vars(self).pop(setting.removeprefix("IDEMPOTENCY_").lower(), None)

    def _get_callable(self, name: str) -> Callable[..., Any] | None:
        value = self._get(name, None)
        return cast("Callable[..., Any] | None", import_string(value) if isinstance(value, str) else value)


def as_timedelta(value: timedelta | float) -> timedelta:
    """Return *value*, a timedelta or a number of seconds, as a timedelta."""
    return value if isinstance(value, timedelta) else timedelta(seconds=value)


def lowered_headers(extra: Collection[str]) -> frozenset[str]:
    """Return the names, in lower case, of all headers to store when *extra* ones are asked for."""
    return DEFAULT_STORED_HEADERS | {name.lower() for name in extra} - NEVER_STORED_HEADERS


settings: Final = Settings()
