"""Every kind of view that can be guarded, each made of one handler; and requests to it, through all of Django."""

from base64 import b64encode
from collections.abc import Callable
from http import HTTPMethod
from typing import Any

from asgiref.sync import async_to_sync, sync_to_async
from django.contrib.auth.models import User
from django.test import AsyncClient, Client, override_settings
from django.urls import re_path
from django.utils.decorators import method_decorator
from django.views import View as DjangoView
from rest_framework import viewsets
from rest_framework.decorators import action, api_view
from rest_framework.generics import GenericAPIView
from rest_framework.views import APIView

from django_idempotency.decorators import idempotent
from django_idempotency.drf import IdempotencyMixin
from tests.factories import PASSWORD

View = Callable[..., Any]
Handler = Callable[[Any], Any]
METHODS = [HTTPMethod.GET, HTTPMethod.POST, HTTPMethod.PUT, HTTPMethod.PATCH, HTTPMethod.DELETE]
ACTIONS: dict[str, Any] = {method.lower(): "charge" for method in METHODS}


def function(handler: Handler, **options: Any) -> View:
    @idempotent(**options)
    def view(request: Any) -> Any:
        return handler(request)

    return view


def coroutine(handler: Handler, **options: Any) -> View:
    @idempotent(**options)
    async def view(request: Any) -> Any:
        return await sync_to_async(handler)(request)

    return view


def decorated_method(handler: Handler, **options: Any) -> View:
    class View(DjangoView):
        @method_decorator(idempotent(**options))
        def post(self, request: Any) -> Any:
            return handler(request)

        get = put = patch = delete = post

    return View.as_view()


def decorated_class(handler: Handler, **options: Any) -> View:
    @method_decorator(idempotent(**options), name="post")
    class View(DjangoView):
        def post(self, request: Any) -> Any:
            return handler(request)

        def get(self, request: Any) -> Any:
            return handler(request)

    return View.as_view()


def decorated_dispatch(handler: Handler, **options: Any) -> View:
    @method_decorator(idempotent(**options), name="dispatch")
    class View(DjangoView):
        def post(self, request: Any) -> Any:
            return handler(request)

        get = put = patch = delete = post

    return View.as_view()


def decorated_as_view(handler: Handler, **options: Any) -> View:
    class View(DjangoView):
        def post(self, request: Any) -> Any:
            return handler(request)

        get = put = patch = delete = post

    return idempotent(**options)(View.as_view())


def decorated_coroutine_method(handler: Handler, **options: Any) -> View:
    @method_decorator(idempotent(**options), name="post")
    class View(DjangoView):
        async def post(self, request: Any) -> Any:
            return await sync_to_async(handler)(request)

        async def get(self, request: Any) -> Any:
            return await sync_to_async(handler)(request)

    return View.as_view()


def decorated_as_coroutine_view(handler: Handler, **options: Any) -> View:
    class View(DjangoView):
        async def post(self, request: Any) -> Any:
            return await sync_to_async(handler)(request)

        get = put = patch = delete = post

    return idempotent(**options)(View.as_view())


def below_api_view(handler: Handler, **options: Any) -> View:
    @api_view(METHODS)
    @idempotent(**options)
    def view(request: Any) -> Any:
        return handler(request)

    return view


def api_view_method(handler: Handler, **options: Any) -> View:
    class View(APIView):
        @idempotent(**options)
        def post(self, request: Any) -> Any:
            return handler(request)

        get = put = patch = delete = post

    return View.as_view()


def generic_view_method(handler: Handler, **options: Any) -> View:
    class View(GenericAPIView[Any]):
        @idempotent(**options)
        def post(self, request: Any) -> Any:
            return handler(request)

        get = put = patch = delete = post

    return View.as_view()


def viewset_method(handler: Handler, **options: Any) -> View:
    class ViewSet(viewsets.ViewSet):
        @idempotent(**options)
        def charge(self, request: Any) -> Any:
            return handler(request)

    return ViewSet.as_view(ACTIONS)


def below_action(handler: Handler, **options: Any) -> View:
    class ViewSet(viewsets.ViewSet):
        @action(detail=False, methods=METHODS)
        @idempotent(**options)
        def charge(self, request: Any) -> Any:
            return handler(request)

    return ViewSet.as_view(ACTIONS)


def above_action(handler: Handler, **options: Any) -> View:
    class ViewSet(viewsets.ViewSet):
        @idempotent(**options)
        @action(detail=False, methods=METHODS)
        def charge(self, request: Any) -> Any:
            return handler(request)

    return ViewSet.as_view(ACTIONS)


def mixin(handler: Handler, **options: Any) -> View:
    attributes = {f"idempotency_{name}": value for name, value in options.items()}

    class View(IdempotencyMixin, APIView):
        locals().update(attributes)

        def post(self, request: Any) -> Any:
            return handler(request)

        get = put = patch = delete = post

    return View.as_view()


def mixin_viewset(handler: Handler, **options: Any) -> View:
    attributes = {f"idempotency_{name}": value for name, value in options.items()}

    class ViewSet(IdempotencyMixin, viewsets.ViewSet):
        locals().update(attributes)

        @action(detail=False, methods=METHODS)
        def charge(self, request: Any) -> Any:
            return handler(request)

    return ViewSet.as_view(ACTIONS)


DJANGO_DOORS = [
    function,
    decorated_method,
    decorated_class,
    decorated_dispatch,
    decorated_as_view,
]
ASYNC_DOORS = [coroutine, decorated_coroutine_method, decorated_as_coroutine_view]
DRF_DECORATED_DOORS = [
    below_api_view,
    api_view_method,
    generic_view_method,
    viewset_method,
    below_action,
    above_action,
]
DRF_DOORS = [*DRF_DECORATED_DOORS, mixin, mixin_viewset]
DOORS = [*DJANGO_DOORS, *ASYNC_DOORS, *DRF_DOORS]


def send(
    view: View,
    method: str = "POST",
    path: str = "/charges/",
    *,
    key: str | None = None,
    user: User | None = None,
    body: str | bytes = b"",
    content_type: str = "application/json",
    asgi: bool = False,
    headers: dict[str, str] | None = None,
) -> Any:
    """Send a request to *view*, by way of all middleware, and return the response, also where it is a 500.

    What the server would send is in its attribute `sent`.
    """
    headers = dict(headers or {})
    if key is not None:
        headers["Idempotency-Key"] = key
    if user is not None:
        headers["Authorization"] = "Basic " + b64encode(f"{user.username}:{PASSWORD}".encode()).decode()
    options: dict[str, Any] = {"content_type": content_type, "headers": headers}

    async def asend() -> Any:
        response: Any = await AsyncClient(raise_request_exception=False).generic(method, path, body, **options)
        response.sent = b"".join([chunk async for chunk in response]) if response.streaming else response.content
        return response

    with override_settings(ROOT_URLCONF=(re_path("", view),)):
        if asgi:
            return async_to_sync(asend)()
        response: Any = Client(raise_request_exception=False).generic(method, path, body, **options)
        response.sent = b"".join(response)
        return response
