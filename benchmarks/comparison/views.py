"""The view that is asked: it inserts a payment, and then does what the request tells it to."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from typing import Any

from django.core.cache import cache
from django.db import connection
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from benchmarks.project.models import Payment


class View(APIView):
    def post(self, request: Request) -> Response:
        """Insert a payment; then be slow, die or fail, if this is the first time that the reference is seen."""
        reference = request.data["reference"]
        then = request.data.get("then")
        Payment.objects.create(account=request.user.pk, amount=1, currency="EUR", reference=reference)
        if then == "wait":
            time.sleep(0.5)
        if then in ("die", "fail") and cache.add(f"seen-{reference}", value=True):
            if then == "die":
                os.kill(os.getpid(), signal.SIGKILL)
            raise RuntimeError("after a write")
        response = Response({"reference": reference, "user": request.user.pk}, status=201)
        response["Location"] = f"/payments/{reference}/"
        response["X-Own"] = "own"
        response.set_cookie("own", "cookie")
        return response


def bare() -> Any:
    return View.as_view()


def guarded_by_us() -> Any:
    from django_idempotency.drf import IdempotencyMixin

    return type("Guarded", (IdempotencyMixin, View), {}).as_view()


def guarded_by_drf_idempotencykey() -> Any:
    from drf_idempotencykey.mixins import DrfIdempotencyKeyMixin

    return type("Guarded", (DrfIdempotencyKeyMixin, View), {}).as_view()


def guarded_by_rest_framework_idempotency_key() -> Any:
    from rest_framework_idempotency_key.decorators import simple_idempotency_key_method

    return type("Guarded", (View,), {"post": simple_idempotency_key_method(View.post)}).as_view()


class CountingMiddleware:
    """Tell how many statements a request took, without BEGIN and COMMIT, which Django does not show."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        statements = []

        def count(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
            statements.append(sql)
            return execute(sql, params, many, context)

        with connection.execute_wrapper(count):
            response = self.get_response(request)
        response.headers["X-Statements"] = str(len(statements))
        return response
