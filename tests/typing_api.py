"""What a type checker makes of the guards on views and of the protocol; nothing here is run."""

from collections import Counter
from datetime import timedelta
from typing import Any, assert_type

from django.http import HttpRequest, HttpResponse
from django.test import Client
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from django_idempotency.decorators import idempotent
from django_idempotency.drf import IdempotencyMixin
from django_idempotency.execution import aexecute, execute
from django_idempotency.models import (
    IdempotencyKey,
    IdempotentRun,
    IdempotentRunQuerySet,
    IdempotentStep,
    IdempotentStepQuerySet,
)
from django_idempotency.resume import Resumed, resume
from django_idempotency.steps import NOT_DONE, Abort, SteppedOperation
from django_idempotency.stepwise import execute_in_steps
from django_idempotency.testing import (
    Answer,
    Check,
    ExactlyOnce,
    Race,
    assert_exactly_once,
    idempotency_conformance,
    race,
)
from django_idempotency.values import Codec, Operation, Outcome


@idempotent
def bare(request: HttpRequest, account: int = 1) -> HttpResponse:
    return HttpResponse()


@idempotent(required=True, wait=5.0, methods=("POST",))
async def configured(request: HttpRequest, account: int) -> HttpResponse:
    return HttpResponse()


class Decorated(APIView):
    @idempotent(ttl=3600)
    def post(self, request: Request) -> Response:
        return Response()


class Mixed(IdempotencyMixin, APIView):
    idempotency_required = True

    def get_idempotency_scope(self, request: Request) -> str:
        return super().get_idempotency_scope(request)


@idempotent(steps=True, lease=30, keep_request=["X-Tenant"])
def stepped(request: HttpRequest, *, operation: SteppedOperation) -> HttpResponse:
    order = operation.step("order", lambda: 1, undo=lambda order: None)
    operation.call("charge", str, if_uncertain="hold", reconcile=lambda key: NOT_DONE, undo=lambda charge, key: None)
    assert_type(order, Any)
    assert_type(operation.child_key("charge"), str)
    assert_type(operation.attempt, int)
    operation.call("charge", str, if_uncertain="wait")  # type: ignore[arg-type]  # there is no such choice
    operation.call("charge", lambda: None)  # type: ignore[arg-type, misc]  # it takes the derived key
    raise Abort(HttpResponse(status=402))


class MixedSteps(IdempotencyMixin, APIView):
    idempotency_steps = True
    idempotency_lease = 30
    idempotency_keep_request = True


async def guards(request: HttpRequest, drf_request: Request) -> None:
    assert_type(bare(request, account=2), HttpResponse)
    assert_type(await configured(request, 2), HttpResponse)
    assert_type(IdempotentRun.objects.all().unfinished().abandoned().uncertain(), IdempotentRunQuerySet)
    assert_type(IdempotentStep.objects.all().uncertain(), IdempotentStepQuerySet)
    assert_type(Decorated().post(drf_request), Response)
    assert_type(Mixed().get_idempotency_key(drf_request), str | None)
    bare(request, account="2")  # type: ignore[arg-type]  # the signature is kept
    idempotent(requierd=True)  # type: ignore[call-overload]  # no such argument


def operations(operation: Operation, codec: Codec[int]) -> None:
    def handler(stepped: SteppedOperation) -> int:
        return stepped.attempt

    assert_type(execute_in_steps(operation, handler, codec=codec, lease=timedelta(seconds=30)), Outcome[int])
    assert_type(resume(max_attempts=3), Resumed)
    assert_type(resume().ended, int)


async def protocol(operation: Operation, codec: Codec[int], answer: Any) -> None:
    async def coroutine() -> int:
        return 1

    assert_type(execute(operation, lambda: 1, codec=codec), Outcome[int])
    assert_type(await aexecute(operation, coroutine, codec=codec), Outcome[int])
    assert_type(execute(operation, lambda: 1, codec=codec).value, int)


def kit(client: Client) -> None:
    def send(key: str) -> object:
        return client.post("/charges/", headers={"Idempotency-Key": key})

    outbox: list[object] = []
    assert_type(assert_exactly_once(send, effects=IdempotencyKey.objects.all()), ExactlyOnce)
    assert_type(
        assert_exactly_once(send, effects=[IdempotencyKey.objects.values_list("key"), outbox]).lines, int | None
    )
    assert_type(race(send, 3, effects={"mails": outbox, "counts": Counter[str]()}, fresh=outbox.clear), Race)
    assert_type(race(send, effects=outbox.__len__).answers[0], Answer)
    assert_type(idempotency_conformance("/charges/", data={"amount": 1}, user=lambda: None), list[Check])
    assert_exactly_once(send)  # type: ignore[call-arg]  # nothing would be counted
