"""Views that do what the request's script tells them.

The script is a JSON list of steps in the X-Script header, not in the body or the query: two
requests may carry the same key and the same content, and yet the first one dies and the second
one does not.

    [["effect", "a"], ["gate", "/tmp/gate-x/s"], ["kill"]]
"""

import base64
import json
import os
import signal
import uuid
from collections.abc import Callable, Iterable
from typing import Any

from asgiref.sync import sync_to_async
from django.db import transaction
from django.http import (
    HttpRequest,
    HttpResponse,
    HttpResponseBase,
    JsonResponse,
    StreamingHttpResponse,
)
from rest_framework.request import Request
from rest_framework.views import APIView

from django_idempotency.decorators import idempotent
from django_idempotency.drf import IdempotencyMixin
from tests.app import faults
from tests.app.models import Effect
from tests.gate import pass_gate


class CrashError(Exception):
    """What the step "raise" raises."""


def effect(label: str, using: str = "default") -> None:
    """Leave a row behind that a test can count."""
    Effect.objects.using(using).create(label=label)


def on_commit_effect(label: str, using: str = "default") -> None:
    """Leave a row behind once the transaction has committed."""
    transaction.on_commit(lambda: effect(label, using), using=using)


def kill() -> None:
    """End this process at once, as the kernel does when memory runs out."""
    os.kill(os.getpid(), signal.SIGKILL)


def crash(message: str = "scripted") -> None:
    """Raise an error that no one expects."""
    raise CrashError(message)


def mark_for_rollback(using: str = "default") -> None:
    """Let the transaction roll back without an exception."""
    transaction.set_rollback(True, using=using)


def respond(
    body: str = "",
    *,
    status: int = 200,
    base64_body: str | None = None,
    content_type: str = "text/plain",
    headers: dict[str, str] | None = None,
    cookies: dict[str, str] | None = None,
    stream: bool = False,
    repeat: int = 1,
) -> HttpResponseBase:
    """Return this response; *repeat* makes a large one out of a small script."""
    content = body.encode() if base64_body is None else base64.b64decode(base64_body)
    options: dict[str, Any] = {"status": status, "content_type": content_type, "headers": headers}
    response: HttpResponseBase
    if stream:
        response = StreamingHttpResponse((content for _ in range(repeat)), **options)
    else:
        response = HttpResponse(content * repeat, **options)
    for name, value in (cookies or {}).items():
        response.set_cookie(name, value)
    return response


STEPS: dict[str, Callable[..., HttpResponseBase | None]] = {
    "effect": effect,
    "on_commit_effect": on_commit_effect,
    "gate": pass_gate,
    "kill": kill,
    "cut_session": faults.cut_session,
    "doom_commit": faults.doom_commit,
    "raise": crash,
    "mark_for_rollback": mark_for_rollback,
    "respond": respond,
}


def perform(script: Iterable[list[Any]]) -> HttpResponseBase:
    """Take the steps of *script*; return its response, else a 201 that no other one equals.

    A step is its name and its arguments; a last argument that is an object names the rest.
    """
    for name, *arguments in script:
        named = arguments.pop() if arguments and isinstance(arguments[-1], dict) else {}
        response = STEPS[name](*arguments, **named)
        if response is not None:
            return response
    return JsonResponse({"id": str(uuid.uuid4())}, status=201)


def script_of(request: HttpRequest | Request) -> list[list[Any]]:
    """Return the steps that the request asks for."""
    script: list[list[Any]] = json.loads(request.headers.get("X-Script", "[]"))
    return script


def scripted(request: HttpRequest) -> HttpResponseBase:
    """Do what the script says, in autocommit: the control against which keys are tested."""
    return perform(script_of(request))


@idempotent
def keyed(request: HttpRequest) -> HttpResponseBase:
    """Do what the script says, once per key."""
    return perform(script_of(request))


@idempotent
async def keyed_async(request: HttpRequest) -> HttpResponseBase:
    """Do what the script says, once per key, from a coroutine."""
    return await sync_to_async(perform)(script_of(request))


class KeyedView(IdempotencyMixin, APIView):
    """Do what the script says, once per key, in REST framework."""

    def post(self, request: Request) -> HttpResponseBase:
        return perform(script_of(request))


def process(request: HttpRequest) -> HttpResponse:
    """Tell the number of the process that answers."""
    return HttpResponse(str(os.getpid()), content_type="text/plain")


def whoami(request: HttpRequest) -> HttpResponse:
    """Tell who the user is."""
    return HttpResponse(request.user.get_username(), content_type="text/plain")
