"""How a view's handler is called: once per operation, in one transaction or in steps; or unguarded."""

from __future__ import annotations

from collections.abc import Callable

from django.http import HttpRequest
from django.http.response import HttpResponseBase

from django_idempotency.exceptions import UsageError
from django_idempotency.execution import execute
from django_idempotency.kept import keep, lease_of
from django_idempotency.policy import Policy
from django_idempotency.stepwise import execute_in_steps
from django_idempotency.values import Codec, Operation, Outcome

Handler = Callable[..., HttpResponseBase]


def call_once(
    operation: Operation,
    handler: Handler,
    *,
    policy: Policy,
    codec: Codec[HttpResponseBase],
    wait: float,
    request: HttpRequest,
) -> Outcome[HttpResponseBase]:
    """Call *handler* once per *operation*; if that has several steps, with itself as the argument `operation`."""
    if not policy.steps:
        return execute(operation, handler, codec=codec, using=policy.using, wait=wait, reruns=policy.reruns)
    return execute_in_steps(
        operation,
        lambda stepped: handler(operation=stepped),
        codec=codec,
        lease=policy.get_lease(),
        using=policy.using,
        wait=wait,
        reruns=policy.reruns,
        request=keep(request, extra=policy.get_kept_headers()) if policy.keep_request else "",
        taken=lease_of(request),
    )


def call_unguarded(handler: Handler, *, policy: Policy, within_operation: bool) -> HttpResponseBase:
    """Call *handler* for a request that needs no guard; where it takes an operation, there is none.

    Raises:
        UsageError: It takes steps, and is a part of another operation.
    """
    if not policy.steps:
        return handler()
    if within_operation:
        raise UsageError(
            "A handler of several steps was called within another operation, whose transaction its steps cannot share. "
            "Guard one of the two: leave @idempotent to the inner one."
        )
    return handler(operation=None)
