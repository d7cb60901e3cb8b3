"""Token authentication for plain Django views, with Django REST framework's tokens."""

from collections.abc import Callable
from functools import wraps
from typing import Any

from asgiref.sync import iscoroutinefunction, sync_to_async
from django.http import HttpRequest, JsonResponse
from rest_framework.authentication import TokenAuthentication
from rest_framework.exceptions import AuthenticationFailed


def token_required(view: Callable[..., Any]) -> Callable[..., Any]:
    """Let in who sends `Authorization: Token …`, and nobody else.

    A session's cookie is not enough, so such a view may be exempt from CSRF checks. It stands above
    `@idempotent`: a key belongs to a user, who has to be known first.
    """
    if iscoroutinefunction(view):

        @wraps(view)
        async def async_guarded(request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
            if not await sync_to_async(sign_in)(request):
                return refusal()
            return await view(request, *args, **kwargs)

        return async_guarded

    @wraps(view)
    def guarded(request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        return view(request, *args, **kwargs) if sign_in(request) else refusal()

    return guarded


def sign_in(request: HttpRequest) -> bool:
    """Make the token's owner the request's user."""
    try:
        found = TokenAuthentication().authenticate(request)  # type: ignore[arg-type]  # it reads META only
    except AuthenticationFailed:
        return False
    if found is None:
        return False
    request.user = found[0]
    return True


def refusal() -> JsonResponse:
    """Ask for a token."""
    return JsonResponse({"detail": "A valid token is needed."}, status=401, headers={"WWW-Authenticate": "Token"})
