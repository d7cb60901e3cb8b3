"""A view behind every door of the package; each does what the request's script says (see tests.app.views).

More steps than there:

    ["lose_session"]         the transaction's session ends, on every engine
    ["kill_on_commit"]       the process dies between COMMIT and the answer
    ["upload"]               an effect whose label tells the field "note" and the uploaded "file"
    ["stream", "text", 3]    an answer in chunks, from an asynchronous generator
"""

import asyncio
import hashlib
import json
import os
import threading
import uuid
from collections.abc import AsyncIterator, Callable
from functools import wraps
from http import HTTPMethod
from typing import Any

from asgiref.sync import sync_to_async
from django.core.exceptions import PermissionDenied
from django.db import connections, transaction
from django.http import HttpRequest, HttpResponseBase, JsonResponse, StreamingHttpResponse
from django.utils.decorators import method_decorator
from django.views import View
from rest_framework.decorators import action, api_view, permission_classes
from rest_framework.permissions import IsAdminUser
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView
from rest_framework.viewsets import ViewSet

from django_idempotency.decorators import idempotent
from django_idempotency.drf import IdempotencyMixin
from tests.app import views
from tests.app.faults import cut_session
from tests.app.views import kill, script_of

METHODS = [HTTPMethod.GET, HTTPMethod.POST, HTTPMethod.PUT, HTTPMethod.PATCH, HTTPMethod.DELETE]
ACTIONS: dict[str, Any] = {method.lower(): "act" for method in METHODS}
LONG = 15.0


# --- Steps ------------------------------------------------------------------------------------------------------------


def lose_session(using: str = "default") -> None:
    """End the session under the transaction, unknown to Django.

    SQLite has none: what it loses is the connection to the file, and with it the transaction.
    """
    connection = connections[using]
    if connection.vendor == "sqlite":
        connection.connection.rollback()
        connection.connection.close()
    else:
        cut_session(using)


def kill_on_commit(using: str = "default") -> None:
    """End this process as soon as the transaction has committed."""
    transaction.on_commit(kill, using=using)


def stream(text: str, chunks: int = 1) -> StreamingHttpResponse:
    """Return an answer that an asynchronous generator makes."""

    async def generate() -> AsyncIterator[bytes]:
        for _ in range(chunks):
            await asyncio.sleep(0)
            yield text.encode()

    return StreamingHttpResponse(generate(), status=201, content_type="text/plain")


STEPS: dict[str, Callable[..., HttpResponseBase | None]] = {
    **views.STEPS,
    "lose_session": lose_session,
    "kill_on_commit": kill_on_commit,
    "stream": stream,
}


def take(request: HttpRequest | Request, name: str, *arguments: Any) -> HttpResponseBase | None:
    """Take one step; return a response if it is the last."""
    if name == "upload":
        file: Any = request.FILES["file"]
        digest = hashlib.sha256(file.read()).hexdigest()
        return STEPS["effect"](f"{request.POST['note']} {digest}")
    named = arguments[-1] if arguments and isinstance(arguments[-1], dict) else {}
    return STEPS[name](*(arguments[:-1] if named else arguments), **named)


def perform(request: HttpRequest | Request) -> HttpResponseBase | None:
    """Take the steps of the script; return its response if it has one."""
    for step in script_of(request):
        response = take(request, *step)
        if response is not None:
            return response
    return None


async def aperform(request: HttpRequest) -> HttpResponseBase | None:
    """Take the steps of the script, awaiting at a gate."""
    for name, *arguments in script_of(request):
        if name == "gate":
            await pass_gate(*arguments)
            continue
        response = await sync_to_async(take)(request, name, *arguments)
        if response is not None:
            return response
    return None


async def pass_gate(path: str) -> None:
    """Do what `tests.gate.pass_gate` does, while the event loop goes on; a cancelled view leaves the gate."""
    try:
        reader, writer = await asyncio.open_unix_connection(path)
    except (FileNotFoundError, ConnectionError):
        return  # It has been opened for good.
    try:
        arrival = {"pid": os.getpid(), "thread": threading.get_ident()}
        writer.write(json.dumps(arrival).encode() + b"\n")
        await reader.read(1)
    except ConnectionError:
        pass
    finally:
        writer.close()


def created() -> HttpResponseBase:
    """Return a 201 that no other one equals."""
    return JsonResponse({"id": str(uuid.uuid4())}, status=201)


def drf_created() -> Response:
    """Return the same, for REST framework to render."""
    return Response({"id": str(uuid.uuid4())}, status=201)


# --- Plain Django -----------------------------------------------------------------------------------------------------


def respond(request: HttpRequest, **kwargs: Any) -> HttpResponseBase:
    return perform(request) or created()


async def arespond(request: HttpRequest, **kwargs: Any) -> HttpResponseBase:
    return await aperform(request) or created()


plain = idempotent(respond)
waiting = idempotent(wait=LONG)(respond)
waiting_shortly = idempotent(wait=0.2)(respond)
required = idempotent(required=True)(respond)
coroutine = idempotent(arespond)
waiting_coroutine = idempotent(wait=LONG)(arespond)


@method_decorator(idempotent, name="dispatch")
class ClassView(View):
    """Django's own class-based view."""

    def get(self, request: HttpRequest, **kwargs: Any) -> HttpResponseBase:
        return respond(request)

    post = put = patch = delete = get


def for_staff(view: Callable[..., HttpResponseBase]) -> Callable[..., HttpResponseBase]:
    """Refuse everybody else."""

    @wraps(view)
    def checked(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        if not request.user.is_staff:
            raise PermissionDenied
        return view(request, *args, **kwargs)

    return checked


@for_staff
@idempotent
def staff_only(request: HttpRequest, **kwargs: Any) -> HttpResponseBase:
    return respond(request)


# --- REST framework ---------------------------------------------------------------------------------------------------


@api_view(METHODS)
@idempotent
def api_view_function(request: Request, /, **kwargs: Any) -> HttpResponseBase:
    return perform(request) or drf_created()


@api_view(METHODS)
@permission_classes([IsAdminUser])
@idempotent
def staff_api_view(request: Request, /, **kwargs: Any) -> HttpResponseBase:
    return perform(request) or drf_created()


class MethodView(APIView):
    """Decorated handlers."""

    def get(self, request: Request, **kwargs: Any) -> HttpResponseBase:
        return perform(request) or drf_created()

    put = delete = get

    @idempotent
    def post(self, request: Request, **kwargs: Any) -> HttpResponseBase:
        return perform(request) or drf_created()

    @idempotent
    def patch(self, request: Request, **kwargs: Any) -> HttpResponseBase:
        return perform(request) or drf_created()


class ActionViewSet(ViewSet):
    """A decorated action."""

    @action(detail=False, methods=METHODS)
    @idempotent
    def act(self, request: Request, **kwargs: Any) -> HttpResponseBase:
        return perform(request) or drf_created()


class MixinViewSet(IdempotencyMixin, ViewSet):
    """The mixin."""

    def act(self, request: Request, **kwargs: Any) -> HttpResponseBase:
        return perform(request) or drf_created()


class WaitingViewSet(MixinViewSet):
    idempotency_wait = LONG


class RequiredViewSet(MixinViewSet):
    idempotency_required = True


class StaffViewSet(MixinViewSet):
    permission_classes = [IsAdminUser]
