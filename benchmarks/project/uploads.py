"""Two views that take a file, and read it once, in chunks."""

from __future__ import annotations

from django.db import transaction
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from benchmarks.project.models import Payment
from django_idempotency.drf import IdempotencyMixin


class AtomicUploadView(APIView):
    def post(self, request: Request) -> Response:
        with transaction.atomic():
            return keep(request)


class OurUploadView(IdempotencyMixin, APIView):
    def post(self, request: Request) -> Response:
        return keep(request)


def keep(request: Request) -> Response:
    size = sum(len(chunk) for chunk in request.data["document"].chunks())
    payment = Payment.objects.create(account=4711, amount=0, currency="EUR", reference=f"{size} bytes")
    return Response({"id": payment.pk, "size": size}, status=201)
