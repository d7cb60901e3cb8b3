"""A bank: payments between accounts, behind each kind of door, and what breaks in the middle of them."""

import json
import uuid
from collections.abc import Callable
from typing import Any

from asgiref.sync import sync_to_async
from django.db import connection, transaction
from django.db.models import F
from django.http import HttpRequest, HttpResponseBase, JsonResponse
from rest_framework.request import Request
from rest_framework.views import APIView

from django_idempotency.decorators import idempotent
from django_idempotency.drf import IdempotencyMixin
from tests.app.faults import doom_commit, execute_elsewhere
from tests.app.models import Account, Effect
from tests.app.views import crash, kill
from tests.faults.model import DECLINED, PAID


def caller(request: HttpRequest | Request) -> str:
    """Return whose key it is; who it really is, is not what a storm tests."""
    return request.headers["X-User"]


def cut_session() -> None:
    """End the session that the transaction runs in, also where a pooler lends it."""
    kill_session = {"postgresql": "SELECT pg_terminate_backend(%s)", "mysql": "KILL CONNECTION %s"}
    tell_session = {"postgresql": "SELECT pg_backend_pid()", "mysql": "SELECT CONNECTION_ID()"}
    with connection.cursor() as cursor:
        cursor.execute(tell_session[connection.vendor])
        session = cursor.fetchone()[0]
    execute_elsewhere(connection, kill_session[connection.vendor], session)


FAULTS: dict[str, Callable[[], None]] = {
    "kill": kill,
    "kill on commit": lambda: transaction.on_commit(kill),
    "raise": crash,
    "cut session": cut_session,
    "doom commit": doom_commit,
}


def pay(request: HttpRequest | Request) -> HttpResponseBase:
    """Move the money, or decline; X-Fault says what breaks, and whether before or after the writes."""
    order = json.loads(request.body)
    place, _, fault = request.headers.get("X-Fault", "").partition(" ")
    if place == "before":
        FAULTS[fault]()
    answer = str(uuid.uuid4())
    payer = Account.objects.select_for_update().get(pk=order["payer"])
    outcome, status = (PAID, 201) if payer.balance >= order["amount"] else (DECLINED, 402)
    Effect.objects.create(label=f"{order['name']} {outcome} {answer}")
    if outcome == PAID:
        # The payer's row is locked, then the payee's: two payments in opposite directions deadlock, as they do.
        for account, amount in ((order["payer"], -order["amount"]), (order["payee"], order["amount"])):
            Account.objects.filter(pk=account).update(balance=F("balance") + amount)
    if place == "after":
        FAULTS[fault]()
    return JsonResponse({"answer": answer}, status=status)


plain = idempotent(scope=caller)(pay)
waiting = idempotent(scope=caller, wait=5)(pay)
rerun = idempotent(scope=caller, reruns=3)(pay)
# What everything else is measured against: a transaction, and no key.
unguarded = transaction.atomic(pay)


@idempotent(scope=caller)
async def coroutine(request: HttpRequest) -> HttpResponseBase:
    return await sync_to_async(pay)(request)


class PaymentView(IdempotencyMixin, APIView):
    authentication_classes: list[Any] = []

    def get_idempotency_scope(self, request: Request) -> str:
        return caller(request)

    def post(self, request: Request) -> HttpResponseBase:
        return pay(request)
