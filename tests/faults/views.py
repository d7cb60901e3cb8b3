"""A bank: payments between accounts, behind each kind of door, and what breaks in the middle of them."""

import json
import secrets
import uuid
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from asgiref.sync import sync_to_async
from django.db import DatabaseError, OperationalError, connection, transaction
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
from tests.gate import pass_gate


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


def dawdle() -> None:
    """Execute a statement that takes a minute, but for a timeout that ends it."""
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute("SET LOCAL statement_timeout = '100ms'")
            cursor.execute("SELECT pg_sleep(60)")
        else:
            cursor.execute("SET STATEMENT max_statement_time = 0.1 FOR SELECT SLEEP(60)")


def hoard() -> None:
    """Write until the disk is full."""
    while True:
        Effect.objects.bulk_create(Effect(label=secrets.token_hex(120)) for _ in range(1000))


FAULTS: dict[str, Callable[[], object]] = {
    "kill": kill,
    "kill on commit": lambda: transaction.on_commit(kill),
    "raise": crash,
    "cut session": cut_session,
    "doom commit": doom_commit,
    "dawdle": dawdle,
    "hoard": hoard,
    "read effects": lambda: list(Effect.objects.all()),
}


def pay(request: HttpRequest | Request) -> HttpResponseBase:
    """Move the money, or decline.

    X-Fault says what breaks, and whether before or after the writes; X-Gate where it stops: at the start, having
    locked the payer's account, or at the end.
    """
    order = json.loads(request.body)
    break_down(request, "before")
    stop(request, "start")
    answer = str(uuid.uuid4())
    payer = Account.objects.select_for_update().get(pk=order["payer"])
    stop(request, "locked")
    outcome, status = (PAID, 201) if payer.balance >= order["amount"] else (DECLINED, 402)
    Effect.objects.create(label=f"{order['name']} {outcome} {answer}")
    if outcome == PAID:
        # The payer's row is locked, then the payee's: two payments in opposite directions deadlock, as they do.
        for account, amount in ((order["payer"], -order["amount"]), (order["payee"], order["amount"])):
            Account.objects.filter(pk=account).update(balance=F("balance") + amount)
    break_down(request, "after")
    stop(request, "end")
    return JsonResponse({"answer": answer}, status=status)


def stop(request: HttpRequest | Request, here: str) -> None:
    """Pass a gate if it is here."""
    place, _, path = request.headers.get("X-Gate", "").partition(" ")
    if place == here:
        pass_gate(path)


def break_down(request: HttpRequest | Request, here: str) -> None:
    """Break if it is to be here."""
    place, _, fault = request.headers.get("X-Fault", "").partition(" ")
    if place == here:
        FAULTS[fault]()


plain = idempotent(scope=caller)(pay)
waiting = idempotent(scope=caller, wait=5)(pay)
# At SERIALIZABLE, PostgreSQL refuses it at once as long as the other one runs, which may be long under load.
rerun = idempotent(scope=caller, reruns=100)(pay)


@idempotent(scope=caller)
def careless(request: HttpRequest) -> HttpResponseBase:
    """Take the database's errors for nothing."""
    try:
        return pay(request)
    except OperationalError:
        with suppress(DatabaseError):
            Effect.objects.create(label=f"{json.loads(request.body)['name']} {PAID} carelessly")
        return JsonResponse({"answer": "carelessly"}, status=201)


@idempotent(scope=caller)
async def coroutine(request: HttpRequest) -> HttpResponseBase:
    return await sync_to_async(pay)(request)


class PaymentView(IdempotencyMixin, APIView):
    authentication_classes: list[Any] = []

    def get_idempotency_scope(self, request: Request) -> str:
        return caller(request)

    def post(self, request: Request) -> HttpResponseBase:
        return pay(request)
