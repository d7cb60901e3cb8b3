"""A view of several steps that reaches another system, and dies where the request says."""

from collections.abc import Callable
from typing import Any

from django.http import HttpRequest, JsonResponse

from django_idempotency.decorators import idempotent
from django_idempotency.steps import Abort, SteppedOperation
from tests.app.views import effect, kill

# Where the first attempt may be killed, in order. The other system is the other database: it keeps each call.
POINTS = (
    *("before the order", "in the order", "after the order"),
    *("before the call", "after the call", "after its result"),
    *("in the confirmation", "after the confirmation"),
)
ABORT_POINTS = ("before the refund", "after the refund", "in the cancellation", "after the cancellation")


def checkout(request: HttpRequest, *, operation: SteppedOperation) -> Any:
    """Order, charge and confirm; or, if the request says so, take it all back."""
    pass_point = killer(request, operation)

    def order() -> int:
        effect("order")
        pass_point("in the order")
        return 1

    def charge(key: str) -> str:
        pass_point("before the call")
        effect(f"charge {key}", using="other")
        pass_point("after the call")
        return key

    def refund(charged: str, key: str) -> None:
        pass_point("before the refund")
        effect(f"refund {key}", using="other")
        pass_point("after the refund")

    def cancel(number: int) -> None:
        effect("cancel")
        pass_point("in the cancellation")

    def confirm() -> None:
        effect("confirm")
        pass_point("in the confirmation")

    def final(number: int) -> None:
        pass_point("after the cancellation")

    pass_point("before the order")
    operation.step("arrive", lambda: 1, undo=final)
    operation.step("order", order, undo=cancel)
    pass_point("after the order")
    charged = operation.call(
        "charge", charge, if_uncertain="hold" if "X-Hold" in request.headers else "retry", undo=refund
    )
    pass_point("after its result")
    if request.GET.get("decline"):
        raise Abort(JsonResponse({"charged": charged}, status=402))
    operation.step("confirm", confirm)
    pass_point("after the confirmation")
    return JsonResponse({"charged": charged}, status=201)


def killer(request: HttpRequest, operation: SteppedOperation) -> Callable[[str], None]:
    """Return what is called at each point, and kills this process at the one that the request names."""

    def pass_point(name: str) -> None:
        if operation.attempt == 1 and request.headers.get("X-Kill") == name:
            kill()

    return pass_point


view = idempotent(steps=True, lease=60, keep_request=["X-Hold"])(checkout)
