"""A request that is kept until its operation ends, so that it can be sent again without its client."""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from collections.abc import Collection
from io import BytesIO
from typing import Any, Final

from django.contrib.auth import get_user_model
from django.core.exceptions import ObjectDoesNotExist
from django.core.handlers.base import BaseHandler
from django.core.handlers.wsgi import WSGIRequest
from django.http import HttpRequest
from django.http.request import RawPostDataException
from django.urls import set_script_prefix

from django_idempotency.exceptions import UsageError
from django_idempotency.leases import Lease

# What a handler may need to do the same again, and nothing that proves who somebody is.
_HEADERS: Final = ("Accept", "Accept-Language", "Content-Type", "Host", "Idempotency-Key")
_CANNOT_BE_KEPT: Final = (
    "keep_request keeps requests whose body is in memory: no file uploads, and nothing that a parser has consumed "
    "before the handler. Leave keep_request out of this view; its operations then go on when their clients retry."
)


def keep(request: HttpRequest, *, extra: Collection[str] = ()) -> str:
    """Return *request* as text: method, address, body, some headers and who sent it; no cookies, no credentials.

    Raises:
        UsageError: The body is one that cannot be kept.
    """
    if request.content_type == "multipart/form-data":
        raise UsageError(_CANNOT_BE_KEPT)
    try:
        body = request.body
    except RawPostDataException as error:
        raise UsageError(_CANNOT_BE_KEPT) from error
    user = getattr(request, "user", None)
    names = (*_HEADERS, *extra)
    return json.dumps(
        {
            "method": request.method,
            "scheme": request.scheme,
            "script": request.META.get("SCRIPT_NAME", ""),
            "path": request.path_info,
            "query": request.META.get("QUERY_STRING", ""),
            "headers": {name: request.headers[name] for name in names if name in request.headers},
            "body": b64encode(body).decode(),
            "user": str(user.pk) if user is not None and user.is_authenticated else None,
        }
    )


def send(kept: str, lease: Lease) -> int:
    """Send a kept request to its view, by way of all middleware, with the *lease* on its operation.

    Returns the status of the answer.

    Raises:
        UsageError: Its user is gone.
    """
    request = _request_of(json.loads(kept))
    request.idempotency_lease = lease  # type: ignore[attr-defined]  # ours
    set_script_prefix(request.META["SCRIPT_NAME"] or "/")
    handler = BaseHandler()
    handler.load_middleware()
    response = handler.get_response(request)
    response.close()
    return response.status_code


def lease_of(request: HttpRequest) -> Lease | None:
    """Return the lease that *request* was sent again with, if it was."""
    return getattr(request, "idempotency_lease", None)


# Note [A kept request is its user's]
# Whoever sent it was authenticated then, by something that is not kept. These attributes are those by which Django's
# and REST framework's own test clients tell the middleware, the views and the CSRF check who somebody is. Permissions
# are asked again.
def _request_of(kept: dict[str, Any]) -> WSGIRequest:
    body = b64decode(kept["body"])
    headers = {name.upper().replace("-", "_"): value for name, value in kept["headers"].items()}
    host, _, port = headers.get("HOST", "localhost").partition(":")
    request = WSGIRequest(
        {
            "REQUEST_METHOD": kept["method"],
            "SCRIPT_NAME": kept["script"],
            # As a WSGI server has it (PEP 3333): UTF-8 that is read as Latin-1.
            "PATH_INFO": kept["path"].encode().decode("latin-1"),
            "QUERY_STRING": kept["query"],
            "CONTENT_LENGTH": str(len(body)),
            "SERVER_NAME": host,
            "SERVER_PORT": port or ("443" if kept["scheme"] == "https" else "80"),
            "SERVER_PROTOCOL": "HTTP/1.1",
            "wsgi.url_scheme": kept["scheme"],
            "wsgi.input": BytesIO(body),
            **{name if name == "CONTENT_TYPE" else f"HTTP_{name}": value for name, value in headers.items()},
        }
    )
    user = _user(kept["user"])
    request.user = user
    request._cached_user = user  # type: ignore[attr-defined]  # AuthenticationMiddleware's
    request._dont_enforce_csrf_checks = True  # type: ignore[attr-defined]  # CsrfViewMiddleware's
    if user.is_authenticated:
        request._force_auth_user = user  # type: ignore[attr-defined]  # REST framework's
    return request


def _user(pk: str | None) -> Any:
    if pk is None:
        from django.contrib.auth.models import AnonymousUser  # noqa: PLC0415 - needs the app to be installed

        return AnonymousUser()
    model = get_user_model()
    try:
        return model._default_manager.get(pk=pk)
    except ObjectDoesNotExist as error:
        raise UsageError(f"The user {pk} who sent the request is gone. Let its key expire in the admin.") from error
