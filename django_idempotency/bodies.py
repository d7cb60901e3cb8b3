"""A request's body: read before the handler reads it, and refused where it was cut off."""

from __future__ import annotations

import shutil
from io import BufferedIOBase, BytesIO
from tempfile import TemporaryFile
from typing import Any, Final

from django.conf import settings as django_settings
from django.core.exceptions import BadRequest
from django.core.handlers.wsgi import LimitedStream
from django.http import HttpRequest

from django_idempotency.exceptions import UsageError

CONSUMED: Final = (
    "The request's body was read as a stream before its fingerprint could be taken. Read request.body instead, or move "
    "what reads the stream behind @idempotent."
)


def is_consumed(request: HttpRequest) -> bool:
    """Tell whether the body was read as a stream, so that it cannot be read again."""
    return getattr(request, "_read_started", False) and not hasattr(request, "_body")


# Note [The body is read twice]
# The fingerprint reads the whole body before the handler does. So that the handler finds the request as the server
# gave it, the stream is copied, in chunks, to a file that spills to disk where an upload would, and the copy takes
# its place. `request.body` would do for small bodies alone: it is bounded, and held in memory.
def rewound_body(request: HttpRequest) -> BufferedIOBase:
    """Return the body as a stream, which the handler finds at its beginning if the caller leaves it there.

    Raises:
        UsageError: It was consumed as a stream before.
        BadRequest: It was cut off.
    """
    if hasattr(request, "_body"):
        refuse_cut_off(request)
        return BytesIO(request.body)
    if is_consumed(request):
        raise UsageError(CONSUMED)
    copy = _copy(request, django_settings.FILE_UPLOAD_MAX_MEMORY_SIZE)
    refuse_cut_off(request)
    request._stream = copy  # type: ignore[assignment]  # what Django's own ASGI handler puts there
    request._read_started = False  # type: ignore[attr-defined]  # not in the stubs
    if not isinstance(copy, BytesIO):
        _close_with(request, copy)
    return copy


# A WSGI server ends the stream of a client that died half-way as if all had come, and `amount=1` may be the beginning
# of `amount=1000`: the handler would run with it, and the retry, which has the whole body, would be refused for another
# one (RFC 9112, section 8: such a message is incomplete). An ASGI server's request is aborted by Django itself.
def refuse_cut_off(request: HttpRequest) -> None:
    """Refuse a request of whose body, which is read, less has come than was announced.

    Raises:
        BadRequest: Nobody waits for the answer.
    """
    if hasattr(request, "_body"):
        announced = request.META.get("CONTENT_LENGTH") or ""
        missing = int(announced) - len(request.body) if announced.isdigit() else 0
    else:
        stream: Any = getattr(request, "_stream", None)
        is_wsgi = isinstance(stream, LimitedStream)
        missing = stream.limit - stream._pos if is_wsgi else 0
    if missing > 0:
        raise BadRequest(f"The connection ended {missing} octets before the end of the request's body. Send it again.")


def _close_with(request: HttpRequest, copy: BufferedIOBase) -> None:
    close = request.close

    def close_both() -> None:
        copy.close()
        close()

    request.close = close_both  # type: ignore[method-assign]  # called once the response has been sent


def _copy(request: HttpRequest, max_memory: int) -> BufferedIOBase:
    content = request.read(max_memory + 1)
    if len(content) <= max_memory:
        return BytesIO(content)
    copy = TemporaryFile()  # noqa: SIM115 - closed with the request
    copy.write(content)
    shutil.copyfileobj(request, copy)
    copy.seek(0)
    return copy
