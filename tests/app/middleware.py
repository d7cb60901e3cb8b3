"""HTTP basic authentication for plain Django views, as REST framework has it for its own."""

import base64
from collections.abc import Callable

from django.contrib.auth import authenticate
from django.http import HttpRequest, HttpResponseBase


class BasicAuthenticationMiddleware:
    """Set `request.user` from the Authorization header."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        scheme, _, credentials = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() == "basic":
            username, _, password = base64.b64decode(credentials).decode().partition(":")
            user = authenticate(request, username=username, password=password)
            if user is not None:
                request.user = user
        return self.get_response(request)
