"""The view under test: it checks a payment, and inserts it."""

from __future__ import annotations

from typing import Any

from django.db import transaction
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.serializers import ModelSerializer
from rest_framework.views import APIView

from benchmarks.project.models import Payment
from django_idempotency.drf import IdempotencyMixin


class PaymentSerializer(ModelSerializer[Payment]):
    class Meta:
        model = Payment
        fields = ("id", "account", "amount", "currency", "reference", "created")
        read_only_fields = ("id", "created")


class BareView(APIView):
    def post(self, request: Request) -> Response:
        return pay(request)


class AtomicView(APIView):
    def post(self, request: Request) -> Response:
        with transaction.atomic():
            return pay(request)


class OurView(IdempotencyMixin, APIView):
    def post(self, request: Request) -> Response:
        return pay(request)


def pay(request: Request) -> Response:
    serializer = PaymentSerializer(data=request.data)
    serializer.is_valid(raise_exception=True)
    payment = serializer.save()
    data: dict[str, Any] = serializer.data
    return Response(data, status=201, headers={"Location": f"/payments/{payment.pk}/"})
