"""The door for Django REST framework: the mixin, and what the decorator does inside of DRF's views."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection
from contextlib import suppress
from datetime import timedelta
from functools import partial
from typing import Any, ClassVar, Final

from django.http.response import HttpResponseBase
from django.utils.functional import cached_property
from rest_framework.exceptions import APIException, UnsupportedMediaType
from rest_framework.request import Request
from rest_framework.utils.encoders import JSONEncoder
from rest_framework.views import APIView

from django_idempotency import http
from django_idempotency.bodies import is_consumed
from django_idempotency.calls import Handler, call_once, call_unguarded
from django_idempotency.conf import settings
from django_idempotency.exceptions import IdempotencyError, KeyMissing, ResponseNotStored, UsageError
from django_idempotency.fingerprint import Fingerprint
from django_idempotency.policy import Policy
from django_idempotency.responses import ResponseCodec, status_of
from django_idempotency.steps import Abort


class IdempotencyAPIException(APIException):
    """A refused request, for the project's EXCEPTION_HANDLER; `wait` becomes Retry-After."""

    def __init__(self, error: IdempotencyError) -> None:
        super().__init__(detail=error.detail, code=error.code)
        self.status_code = status_of(error)
        self.retryable = error.retryable
        self.wait = settings.retry_after if error.retryable else None
        self.original_status = error.original_status if isinstance(error, ResponseNotStored) else None


class IdempotencyMixin:
    """Make a view's unsafe methods happen once per key: put it before APIView or the viewset's class.

    The key's syntax is checked first; authentication, permissions and throttles run before every replay. What an
    attribute leaves None is asked of the settings. Each `get_…`, `is_…` and `should_…` method answers one
    question, and may be overridden.
    """

    idempotency_required: ClassVar[bool | None] = None
    idempotency_ttl: ClassVar[timedelta | float | None] = None
    idempotency_wait: ClassVar[float | None] = None
    idempotency_methods: ClassVar[Collection[str] | None] = None
    idempotency_using: ClassVar[str | None] = None
    idempotency_reruns: ClassVar[int] = 0
    idempotency_stored_statuses: ClassVar[Collection[int] | None] = None
    idempotency_stored_headers: ClassVar[Collection[str] | None] = None
    idempotency_max_response_bytes: ClassVar[int | None] = None
    idempotency_ignored_fields: ClassVar[Collection[str]] = ()
    idempotency_steps: ClassVar[bool] = False
    idempotency_lease: ClassVar[timedelta | float | None] = None
    idempotency_keep_request: ClassVar[bool | Collection[str]] = False
    _idempotency_class_policy: ClassVar[Policy]

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if APIView in cls.__mro__ and cls.__mro__.index(APIView) < cls.__mro__.index(IdempotencyMixin):
            raise UsageError(
                f"{cls.__name__} names IdempotencyMixin behind the view's class, where it guards nothing. "
                f"Write class {cls.__name__}(IdempotencyMixin, …) instead."
            )
        cls._idempotency_class_policy = policy_of(cls)  # Refuses what cannot be meant, at once.

    @cached_property
    def _idempotency_policy(self) -> Policy:
        # Only as_view(…) gives one view attributes of its own.
        has_own = not _ATTRIBUTES.isdisjoint(vars(self))
        return policy_of(self) if has_own else self._idempotency_class_policy

    def get_idempotency_key(self, request: Request) -> str | None:
        """Return the request's key, or None if it carries none. Runs before authentication."""
        return http.read_key(request._request)

    def is_idempotency_required(self, request: Request) -> bool:
        """Tell whether a request without a key is refused."""
        return self._idempotency_policy.is_required()

    def get_idempotency_scope(self, request: Request) -> str:
        """Return whose key it is: the authenticated user's, else `anonymous`."""
        return http.scope_of(request)

    def get_idempotency_ttl(self, request: Request) -> timedelta | float:
        """Return how long the key is remembered: a timedelta, or seconds."""
        return self._idempotency_policy.get_ttl()

    def get_idempotency_wait(self, request: Request) -> float:
        """Return how many seconds a concurrent request waits for the first one's answer."""
        return self._idempotency_policy.get_wait()

    def get_idempotency_fingerprint(self, request: Request) -> Fingerprint:
        """Return the digest of what the request asks for."""
        return _fingerprint_of(request, self.idempotency_ignored_fields)

    def should_store_response(self, response: HttpResponseBase) -> bool:
        """Tell whether *response* is kept with its effects; if not, both are forgotten."""
        return self._idempotency_policy.stores(response)

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        """Refuse a malformed key; let DRF do its checks; then guard the handler that dispatch() is about to call."""
        policy = self._idempotency_policy
        method = request.method or ""
        guards = policy.guards(method)
        try:
            key = self.get_idempotency_key(request) if guards else None
        except IdempotencyError as error:
            raise _refusal(error) from error
        super().initial(request, *args, **kwargs)  # type: ignore[misc]  # the view's, next in line
        name = method.lower()
        handler = getattr(self, name, None)
        # A decorated handler guards itself, by its own arguments.
        if not guards or handler is None or hasattr(handler, "idempotency_policy"):
            return
        if key is None:
            if policy.steps or self.is_idempotency_required(request):
                raise _refusal(KeyMissing())
            return

        def guarded(request: Request, *args: Any, **kwargs: Any) -> HttpResponseBase:
            return _respond_once(
                request,
                partial(handler, request, *args, **kwargs),
                policy=policy,
                key=key,
                scope=self.get_idempotency_scope(request),
                fingerprint=self.get_idempotency_fingerprint(request),
                ttl=self.get_idempotency_ttl(request),
                wait=self.get_idempotency_wait(request),
                stores=self.should_store_response,
            )

        setattr(self, name, guarded)


_ATTRIBUTES: Final = frozenset(name for name in vars(IdempotencyMixin) if name.startswith("idempotency_"))


def respond(request: Request, policy: Policy, handler: Handler) -> HttpResponseBase:
    """Answer *request*, which is inside a DRF view's handler, as *policy* says; used by the decorator."""
    is_guarded = http.is_guarded(request._request)
    if is_guarded or not policy.guards(request.method):
        return call_unguarded(handler, policy=policy, within_operation=is_guarded)
    try:
        key = http.key_for(request._request, policy)
    except IdempotencyError as error:
        raise _refusal(error) from error
    if key is None:
        return handler()
    return _respond_once(
        request,
        handler,
        policy=policy,
        key=key,
        scope=http.scope_of(request, policy.scope),
        fingerprint=_fingerprint_of(request, policy.ignored_fields),
        ttl=policy.get_ttl(),
        wait=policy.get_wait(),
        stores=policy.stores,
    )


def policy_of(view: IdempotencyMixin | type[IdempotencyMixin]) -> Policy:
    """Return the policy that the attributes of *view* make."""
    return Policy(
        required=view.idempotency_required,
        ttl=view.idempotency_ttl,
        wait=view.idempotency_wait,
        methods=view.idempotency_methods,
        using=view.idempotency_using,
        reruns=view.idempotency_reruns,
        stored_statuses=view.idempotency_stored_statuses,
        stored_headers=view.idempotency_stored_headers,
        max_response_bytes=view.idempotency_max_response_bytes,
        ignored_fields=view.idempotency_ignored_fields,
        steps=view.idempotency_steps,
        lease=view.idempotency_lease,
        keep_request=view.idempotency_keep_request,
    )


# Note [Rendered inside, finalized once]
# DRF finalizes and renders a response after the handler has returned, which is after our commit. What is stored must
# be what is sent, so the view's own finalize_response() runs here, inside the transaction, and then steps aside
# for the one call that dispatch() still makes. An exception has left by then: DRF finalizes its response itself.
def _respond_once(
    request: Request,
    handler: Handler,
    *,
    policy: Policy,
    key: str,
    scope: str,
    fingerprint: Fingerprint,
    ttl: timedelta | float,
    wait: float,
    stores: Callable[[HttpResponseBase], bool],
) -> HttpResponseBase:
    view = request.parser_context["view"]
    headers = dict(view.headers)

    def finalize(response: Any) -> HttpResponseBase:
        try:
            answer: HttpResponseBase = view.finalize_response(request, response, *view.args, **view.kwargs)
            return answer
        finally:
            view.headers = dict(headers)  # It takes some out, and may be called again.

    def finalized(**given: Any) -> HttpResponseBase:
        try:
            return finalize(handler(**given))
        except Abort as abort:
            raise Abort(finalize(abort.answer)) from abort

    operation = http.operation_for(request._request, key=key, scope=scope, fingerprint=fingerprint, ttl=ttl)
    try:
        outcome = call_once(
            operation,
            finalized,
            policy=policy,
            codec=ResponseCodec.of(policy, request._request, stores=stores),
            wait=wait,
            request=request._request,
        )
    except IdempotencyError as error:
        raise _refusal(error) from error
    if outcome.replayed:
        for name, value in headers.items():
            outcome.value.headers.setdefault(name, value)
    view.finalize_response = _keep_response
    return outcome.value


def _keep_response(request: Request, response: HttpResponseBase, *args: Any, **kwargs: Any) -> HttpResponseBase:  # noqa: ARG001
    return response


def _fingerprint_of(request: Request, ignored_fields: Collection[str]) -> Fingerprint:
    parsed = None
    if request._request.content_type == "multipart/form-data":
        # DRF's parsers take forms of any method, and leave the result where Django looks for it.
        with suppress(UnsupportedMediaType):
            request.data  # noqa: B018 - parses
    elif is_consumed(request._request) and not hasattr(request._request, "_post"):
        # A permission has read request.data.
        parsed = json.dumps(request.data, cls=JSONEncoder).encode()
    return http.fingerprint_of(request._request, ignored_fields=ignored_fields, parsed=parsed)


def _refusal(error: IdempotencyError) -> IdempotencyAPIException:
    http.report_refusal(error)
    return IdempotencyAPIException(error)
