"""Where the requests of a conformance check go: a base URL, a path of this project, or one of its views."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPSConnection
from typing import Any, Final, Protocol, TypeAlias
from urllib.parse import urlsplit

from django_idempotency.testing.answers import Answer

Data: TypeAlias = "str | bytes | Mapping[str, Any] | Sequence[Any]"
# How long, in seconds, a server may take to answer.
_TIMEOUT: Final = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One request, without its key. `user` returns who sends it, in this project."""

    method: str = "POST"
    data: Data = b""
    content_type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)
    user: Callable[[], Any] | None = None

    @property
    def body(self) -> bytes:
        """The bytes that are sent; what is no text is sent as JSON."""
        if isinstance(self.data, bytes):
            return self.data
        return (self.data if isinstance(self.data, str) else json.dumps(self.data)).encode()


class Target(Protocol):
    """What answers."""

    def send(self, sample: Sample, keys: Sequence[bytes]) -> Answer:
        """Send *sample* with one `Idempotency-Key` line for each of *keys*; callable from any thread."""

    def ready(self) -> AbstractContextManager[None]:
        """Have it answer while the block runs."""

    def in_thread(self) -> AbstractContextManager[None]:
        """Leave nothing behind of the thread that runs the block."""

    def require_threads(self) -> None:
        """Raise UsageError where requests cannot be sent at once."""

    @property
    def expire(self) -> Callable[[str], object] | None:
        """What lets a key expire, if it is known."""


class Server:
    """A server, at a URL."""

    expire = None

    def __init__(self, url: str) -> None:
        self._parts = urlsplit(url)

    def ready(self) -> AbstractContextManager[None]:
        return nullcontext()

    in_thread = ready

    def require_threads(self) -> None:
        """Do nothing: a server takes requests from all over."""

    def send(self, sample: Sample, keys: Sequence[bytes]) -> Answer:
        kind = HTTPSConnection if self._parts.scheme == "https" else HTTPConnection
        connection = kind(self._parts.netloc, timeout=_TIMEOUT)
        path = self._parts.path or "/"
        try:
            # Not request(): it takes no header twice.
            connection.putrequest(sample.method, f"{path}?{self._parts.query}" if self._parts.query else path)
            for name, value in {"Content-Type": sample.content_type, **sample.headers}.items():
                connection.putheader(name, value)
            for key in keys:
                connection.putheader("Idempotency-Key", key)
            connection.putheader("Content-Length", str(len(sample.body)))
            connection.endheaders(sample.body)
            response = connection.getresponse()
            return Answer.made(response.status, response.getheaders(), response.read())
        finally:
            connection.close()


def target_of(target: str | Callable[..., Any]) -> Target:
    """Return what answers at a URL, at a path of this project, or in a view."""
    if isinstance(target, str) and target.startswith(("http://", "https://")):
        return Server(target)
    from django_idempotency.testing.projects import Project  # noqa: PLC0415 - a server needs no settings of Django's

    return Project(target)
