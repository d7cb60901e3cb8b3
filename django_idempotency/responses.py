"""Between Django's response and the stored one; and the answers to refused requests."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from itertools import chain
from typing import Any, Final

from asgiref.sync import async_to_sync
from django.core.handlers.asgi import ASGIRequest
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.http.response import HttpResponseBase, StreamingHttpResponse

from django_idempotency.conf import settings
from django_idempotency.exceptions import IdempotencyError, KeyReused, ResponseNotStored
from django_idempotency.policy import Policy
from django_idempotency.values import StoredResponse

REPLAYED_HEADER: Final = "Idempotent-Replayed"


@dataclass(frozen=True, slots=True, kw_only=True)
class ResponseCodec:
    """Store a response's status, body and the headers that are on the list; make a replay of them."""

    stores: Callable[[HttpResponseBase], bool]
    headers: frozenset[str]
    max_bytes: int
    is_async: bool

    @classmethod
    def of(
        cls, policy: Policy, request: HttpRequest, *, stores: Callable[[HttpResponseBase], bool] | None = None
    ) -> ResponseCodec:
        """Return the codec for *request* to an endpoint that *policy* guards; *stores* may decide in its place."""
        return cls(
            stores=stores or policy.stores,
            headers=policy.get_stored_headers(),
            max_bytes=policy.get_max_response_bytes(),
            is_async=isinstance(request, ASGIRequest),
        )

    def dump(self, response: HttpResponseBase) -> StoredResponse | None:
        """Return what to store of *response*, or None if it is not to be remembered.

        It is rendered here, inside the transaction: what is stored is what is sent. A stream is read up to the
        limit, and still sent whole.
        """
        if not self.stores(response):
            return None
        if hasattr(response, "render"):
            response = response.render()
        return StoredResponse(
            status=response.status_code,
            headers=[(name, value) for name, value in response.items() if name.lower() in self.headers],
            body=self._read(response),
        )

    def load(self, stored: StoredResponse) -> HttpResponseBase:
        """Return the replay: the same status, body and listed headers, and a mark that it is one."""
        response = HttpResponse(stored.body, status=stored.status)
        del response["Content-Type"]
        for name, value in stored.headers:
            response[name] = value
        response[REPLAYED_HEADER] = "true"
        return response

    def _read(self, response: Any) -> bytes | None:
        """Return the body if it is not too large; leave the response able to send it in any case."""
        if not response.streaming:
            return response.content if len(response.content) <= self.max_bytes else None
        if response.is_async:
            return async_to_sync(_read_async_stream)(response, self.max_bytes, resumable=self.is_async)
        return _read_stream(response, self.max_bytes)


def problem_response(error: IdempotencyError) -> HttpResponse:
    """Answer a refused request in `application/problem+json` (RFC 9457)."""
    problem: dict[str, Any] = {
        "type": f"{settings.documentation_url}#{error.code}",
        "title": error.title,
        "status": status_of(error),
        "detail": error.detail,
        "code": error.code,
        "retryable": error.retryable,
    }
    if isinstance(error, ResponseNotStored):
        problem["original_status"] = error.original_status
    response = JsonResponse(problem, status=problem["status"], content_type="application/problem+json")
    if error.retryable:
        response["Retry-After"] = str(settings.retry_after)
    return response


def status_of(error: IdempotencyError) -> int:
    """Return the HTTP status of a refusal."""
    return settings.reused_status if isinstance(error, KeyReused) else error.status


def _read_stream(response: StreamingHttpResponse, max_bytes: int) -> bytes | None:
    rest = iter(response.streaming_content)  # type: ignore[arg-type]  # not asynchronous, see the caller
    chunks: list[bytes] = []
    size = 0
    for chunk in rest:
        chunks.append(chunk)
        size += len(chunk)
        if size > max_bytes:
            response.streaming_content = chain(chunks, rest)
            return None
    response.streaming_content = chunks
    return b"".join(chunks)


# Note [Under WSGI, an asynchronous stream is read whole]
# There an event loop lives no longer than the call that needs it, and when it ends it closes the generators that it
# began: what is left of a stream would be lost. Django reads such a stream whole, too, before it sends any of it.
async def _read_async_stream(response: StreamingHttpResponse, max_bytes: int, *, resumable: bool) -> bytes | None:
    rest = aiter(response.streaming_content)  # type: ignore[arg-type]  # asynchronous, see the caller
    chunks: list[bytes] = []
    size = 0
    async for chunk in rest:
        chunks.append(chunk)
        size += len(chunk)
        if size > max_bytes and resumable:
            response.streaming_content = _achain(chunks, rest)
            return None
    response.streaming_content = _achain(chunks)
    return b"".join(chunks) if size <= max_bytes else None


async def _achain(chunks: list[bytes], rest: AsyncIterator[bytes] | None = None) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk
    if rest is not None:
        async for chunk in rest:
            yield chunk
