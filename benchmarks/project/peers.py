"""The same view behind each of the other packages, as their own documentation has it."""

from __future__ import annotations

from drf_idempotencykey.mixins import DrfIdempotencyKeyMixin
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView
from rest_framework_idempotency_key.decorators import simple_idempotency_key_method

from benchmarks.project.views import pay


class DrfIdempotencyKeyView(DrfIdempotencyKeyMixin, APIView):
    def post(self, request: Request) -> Response:
        return pay(request)


class RestFrameworkIdempotencyKeyView(APIView):
    @simple_idempotency_key_method
    def post(self, request: Request) -> Response:
        return pay(request)
