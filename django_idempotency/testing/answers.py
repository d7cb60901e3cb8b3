"""What a client was answered, whichever client it was: Django's test client, httpx, requests, http.client."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from http.cookies import SimpleCookie
from typing import Any, Final

# What a replay repeats; all others may tell of the moment or the connection.
REPEATED_HEADERS: Final = (
    "content-type",
    "content-language",
    "content-disposition",
    "content-encoding",
    "location",
    "link",
    "etag",
    "last-modified",
)
# In progress; too early; too many requests; unavailable: the client is to send the same request again.
_COME_AGAIN: Final = frozenset({409, 425, 429, 503})


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A response: status, headers with their names in lower case, and the body's bytes."""

    status: int
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""

    @classmethod
    def of(cls, response: Any) -> Answer:
        """Return what *response* says: it has `status_code`, `headers`, and `content` or an iterator of bytes.

        Raises:
            TypeError: It is no response.
        """
        if isinstance(response, cls):
            return response
        if not hasattr(response, "status_code") or not hasattr(response, "headers"):
            raise TypeError(
                f"send(key) returned {response!r}. Let it return the response: of Django's test client, of httpx or of "
                "requests. A coroutine function is called through asgiref.sync.async_to_sync."
            )
        content = response.content if hasattr(response, "content") else b"".join(response)
        headers = list(response.headers.items())
        cookies = getattr(response, "cookies", None)
        if isinstance(cookies, SimpleCookie):  # Django's: they become headers on the way out.
            headers += [("Set-Cookie", cookie.OutputString()) for cookie in cookies.values()]
        return cls.made(response.status_code, headers, content)

    @classmethod
    def made(cls, status: int, headers: Iterable[tuple[str, str]], body: bytes) -> Answer:
        """Return the answer with these parts."""
        return cls(status=status, headers=tuple((name.lower(), value) for name, value in headers), body=bytes(body))

    @property
    def succeeded(self) -> bool:
        """Whether the client was told that it is done."""
        return 200 <= self.status < 300

    @property
    def asks_to_come_again(self) -> bool:
        """Whether the client is to send the same request again."""
        return self.status in _COME_AGAIN

    def header(self, name: str) -> str | None:
        """Return the value of the first header of that name, or None."""
        return next((value for header, value in self.headers if header == name.lower()), None)

    def difference(self, other: Answer) -> str:
        """Say in which way *other* is no replay of this answer; empty when it is one, byte for byte."""
        if self.status != other.status:
            return f"status {other.status} instead of {self.status}: {other.excerpt}"
        if self.body != other.body:
            return f"another body: {other.excerpt} instead of {self.excerpt}"
        for name in REPEATED_HEADERS:
            if self.header(name) != other.header(name):
                return f"header {name}: {other.header(name)!r} instead of {self.header(name)!r}"
        return ""

    @property
    def excerpt(self) -> str:
        """The beginning of the body, for messages."""
        return repr(self.body if len(self.body) <= 200 else self.body[:200] + b"...")[1:]
