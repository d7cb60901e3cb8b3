"""The door for views: one decorator for function views, methods, coroutines and DRF's handlers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection
from datetime import timedelta
from functools import partial, wraps
from typing import Any, Final, ParamSpec, TypeVar, overload

from asgiref.sync import iscoroutinefunction
from django.http import HttpRequest
from django.http.response import HttpResponseBase

from django_idempotency import http
from django_idempotency.calls import Handler, call_once, call_unguarded
from django_idempotency.exceptions import IdempotencyError, UsageError
from django_idempotency.execution import aexecute
from django_idempotency.policy import Policy
from django_idempotency.responses import ResponseCodec, problem_response
from django_idempotency.threads import on_thread
from django_idempotency.values import Operation

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")

_OUTSIDE_OF_DRF: Final = (
    "@idempotent is above a DRF view, which turns exceptions into responses: what a failed handler wrote would be "
    'kept. Write @api_view(["POST"]) above @idempotent; in a class, decorate the method, or use IdempotencyMixin.'
)


@overload
def idempotent(view: Callable[P, R], /) -> Callable[P, R]: ...


@overload
def idempotent(
    *,
    required: bool | None = None,
    ttl: timedelta | float | None = None,
    wait: float | None = None,
    scope: Callable[[Any], str] | None = None,
    methods: Collection[str] | None = None,
    using: str | None = None,
    reruns: int = 0,
    stored_statuses: Collection[int] | None = None,
    stored_headers: Collection[str] | None = None,
    max_response_bytes: int | None = None,
    ignored_fields: Collection[str] = (),
    key_validator: Callable[[str], object] | None = None,
    steps: bool = False,
    lease: timedelta | float | None = None,
    keep_request: bool | Collection[str] = False,
) -> Callable[[Callable[P, R]], Callable[P, R]]: ...


def idempotent(view: Callable[..., Any] | None = None, /, **arguments: Any) -> Any:
    """Run the view once per idempotency key; afterwards, replay its response.

    The key is remembered if and only if the view's effects on the database *using* are committed. To have nothing
    remembered, raise, or return a status that is not stored. What is not given is asked of the settings:

    - required: refuse requests without a key (400).
    - ttl: how long to remember, a timedelta or seconds.
    - wait: how many seconds a concurrent request waits for the first one's answer, instead of 409 at once.
    - scope: a callable on the request that says whose key it is.
    - methods: the HTTP methods that are guarded; all others run as if the view was not decorated.
    - using: the alias of the database that the view writes to.
    - reruns: how often to run again when the database gives up the transaction.
    - stored_statuses, stored_headers, max_response_bytes: what is kept of the response.
    - ignored_fields: fields of the body that may differ between retries.
    - key_validator: a callable that raises ValueError on a key that is not of the form asked for.
    - steps: instead of one transaction, the view gets an `operation` (`django_idempotency.steps`), whose steps commit
      one by one. It is for views that reach other systems, and requires keys.
    - lease: how long others wait for a worker that has died between two steps, a timedelta or seconds.
    - keep_request: keep the request until the operation ends, for `manage.py resume_idempotent_operations`; or the
      names of further headers to keep with it.

    Put it below `@api_view` and above or below `@action`; on a class-based Django view through
    `method_decorator`. What checks who may call, such as `@login_required`, stands above it, so that it
    runs before a replay, too.

    Raises:
        UsageError: At decoration, where it could not keep its promise; the message has the form that can.
    """
    if view is None:
        policy = Policy(**arguments)
        return lambda view: _guarded(view, policy)
    return _guarded(view, Policy(**arguments))


def idempotency_exempt(view: T) -> T:
    """Say that a view needs no keys, so that `manage.py idempotency_endpoints --check` does not ask for them.

    It changes nothing else. It takes a view, a view class, or a handler of one; a class passes it on to its subclasses.
    """
    view.idempotency_exempt = True  # type: ignore[attr-defined]  # read by the command
    return view


def published_as(words: str) -> Callable[[T], T]:
    """Tell the clients of the API what a callable decides: whose a key is, what it must be, how long it counts.

    It is for the callables that `scope` and `key_validator` take, and for methods of the mixin that a view overrides.
    """

    def describe(rule: T) -> T:
        rule.idempotency_words = words  # type: ignore[attr-defined]  # read by what publishes
        return rule

    return describe


def _guarded(view: Callable[..., Any], policy: Policy) -> Callable[..., Any]:
    _refuse_unsafe(view)
    if iscoroutinefunction(view):
        if policy.steps:
            raise UsageError(
                f"@idempotent(steps=True) takes no coroutine function yet, such as {view.__name__}. Write it as a "
                "plain function: Django runs that in a thread."
            )

        @wraps(view)
        async def guarded(*args: Any, **kwargs: Any) -> HttpResponseBase:
            return await _arespond(_request_in(args), policy, lambda: view(*args, **kwargs))

    else:

        @wraps(view)
        def guarded(*args: Any, **kwargs: Any) -> HttpResponseBase:
            request = _request_in(args)
            handler = partial(view, *args, **kwargs)
            if isinstance(request, HttpRequest):
                return _respond(request, policy, handler)
            from django_idempotency import drf  # noqa: PLC0415 - an extra; such a request comes from nowhere else

            return drf.respond(request, policy, handler)

    guarded.idempotency_policy = policy  # type: ignore[attr-defined]  # read by the mixin
    return guarded


def _respond(request: HttpRequest, policy: Policy, handler: Handler) -> HttpResponseBase:
    is_guarded = http.is_guarded(request)
    if is_guarded or not policy.guards(request.method):
        return call_unguarded(handler, policy=policy, within_operation=is_guarded)
    try:
        operation = _operation_for(request, policy)
        if operation is not None:
            codec = ResponseCodec.of(policy, request)
            return call_once(
                operation, handler, policy=policy, codec=codec, wait=policy.get_wait(), request=request
            ).value
    except IdempotencyError as error:
        http.report_refusal(error)
        return problem_response(error)
    return handler()


async def _arespond(
    request: HttpRequest, policy: Policy, handler: Callable[[], Awaitable[HttpResponseBase]]
) -> HttpResponseBase:
    if http.is_guarded(request) or not policy.guards(request.method):
        return await handler()
    try:
        # On the thread: it may load the user, and it reads the body.
        operation = await on_thread(lambda: _operation_for(request, policy))
        if operation is not None:
            codec = ResponseCodec.of(policy, request)
            outcome = await aexecute(
                operation, handler, codec=codec, using=policy.using, wait=policy.get_wait(), reruns=policy.reruns
            )
            return outcome.value
    except IdempotencyError as error:
        await on_thread(partial(http.report_refusal, error))
        return problem_response(error)
    return await handler()


def _operation_for(request: HttpRequest, policy: Policy) -> Operation | None:
    key = http.key_for(request, policy)
    if key is None:
        return None
    return http.operation_for(
        request,
        key=key,
        scope=http.scope_of(request, policy.scope),
        fingerprint=http.fingerprint_of(request, ignored_fields=policy.ignored_fields),
        ttl=policy.get_ttl(),
    )


def _request_in(args: tuple[Any, ...]) -> Any:
    """Return the request: the first argument of a function, or the second of a method."""
    for argument in args[:2]:
        if isinstance(argument, HttpRequest) and hasattr(args[0], "initialize_request"):
            raise UsageError(_OUTSIDE_OF_DRF)
        if isinstance(argument, HttpRequest) or hasattr(argument, "_request"):
            return argument
    raise UsageError(
        "@idempotent found no request among the arguments. Decorate a view, or one of its handler methods."
    )


def _refuse_unsafe(view: object) -> None:
    if isinstance(view, type):
        raise UsageError(
            f"@idempotent cannot guard the class {view.__name__} as a whole. Decorate its handlers: "
            f'@method_decorator(idempotent, name="post") on a Django view; @idempotent on the method of a DRF view, '
            f"or class {view.__name__}(IdempotencyMixin, …)."
        )
    # What @method_decorator passes is bound to the view, at each request.
    owner = getattr(getattr(view, "func", None), "__self__", None)
    if hasattr(view, "cls") or (hasattr(owner, "initialize_request") and getattr(view, "__name__", "") == "dispatch"):
        raise UsageError(_OUTSIDE_OF_DRF)
    if not callable(view):
        raise UsageError(f"@idempotent takes a view, and keyword arguments only, not {view!r}.")
