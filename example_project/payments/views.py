"""One view of each kind, each safe to retry."""

from typing import Any

from asgiref.sync import sync_to_async
from django.http import HttpRequest, JsonResponse
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema
from rest_framework import mixins, viewsets
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from django_idempotency.decorators import idempotent
from django_idempotency.drf import IdempotencyMixin
from example_project.payments import services
from example_project.payments.forms import DonationForm, TransferForm
from example_project.payments.models import Account, Charge
from example_project.payments.serializers import (
    AccountSerializer,
    ChargeSerializer,
    OrderSerializer,
)
from example_project.payments.tokens import token_required

# Returned, not raised: what is returned is remembered, so a retry is told the same, even if money
# has come in meanwhile.
DECLINED = {"detail": "Insufficient funds."}


class AccountViewSet(viewsets.ReadOnlyModelViewSet[Account]):
    """Balances. Reading needs no keys."""

    serializer_class = AccountSerializer

    def get_queryset(self) -> Any:
        return Account.objects.visible_to(self.request.user).order_by("pk")


class ChargeViewSet(
    IdempotencyMixin,
    mixins.ListModelMixin,
    mixins.RetrieveModelMixin,
    viewsets.GenericViewSet[Charge],
):
    """Charges: a ViewSet with the mixin. A request without a key is refused."""

    serializer_class = ChargeSerializer
    idempotency_required = True

    def get_queryset(self) -> Any:
        return Charge.objects.filter(account__in=Account.objects.visible_to(self.request.user)).order_by("-pk")

    def create(self, request: Request) -> Response:
        """Charge an account."""
        serializer = self.get_serializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        try:
            charge = services.charge(**serializer.validated_data)
        except services.InsufficientFundsError:
            return Response(DECLINED, status=402)
        return Response(self.get_serializer(charge).data, status=201)


class OrderView(APIView):
    """Orders: an APIView with the decorator.

    A second request waits up to five seconds for the first one's answer.
    """

    @extend_schema(request=OrderSerializer, responses={201: OpenApiTypes.OBJECT})
    @idempotent(required=True, wait=5.0)
    def post(self, request: Request) -> Response:
        """Order goods, and charge an account for them."""
        serializer = OrderSerializer(data=request.data, context={"request": request})
        serializer.is_valid(raise_exception=True)
        try:
            order = services.order(**serializer.validated_data)
        except services.InsufficientFundsError:
            return Response(DECLINED, status=402)
        return Response(
            {"id": order.pk, "charge": order.charge.pk, "total": str(order.charge.amount)},
            status=201,
        )


@csrf_exempt
@require_POST
@token_required
@idempotent(required=True)
def transfers(request: HttpRequest) -> JsonResponse:
    """Move money between accounts: a plain Django view."""
    form = TransferForm(request)
    if not form.is_valid():
        return JsonResponse(form.errors, status=400)
    try:
        transfer = services.transfer(**form.cleaned_data)
    except services.InsufficientFundsError:
        return JsonResponse(DECLINED, status=402)
    return JsonResponse({"id": transfer.pk, "amount": str(transfer.amount)}, status=201)


@csrf_exempt
@require_POST
@token_required
@idempotent
async def donations(request: HttpRequest) -> JsonResponse:
    """Give money away: an async Django view. A key is welcome, but not required."""
    form = DonationForm(request)
    if not await sync_to_async(form.is_valid)():
        return JsonResponse(form.errors, status=400)
    account, cause, amount = (form.cleaned_data[name] for name in ("account", "cause", "amount"))
    try:
        charge = await sync_to_async(services.charge)(account, amount, f"Donation: {cause}")
    except services.InsufficientFundsError:
        return JsonResponse(DECLINED, status=402)
    return JsonResponse({"id": charge.pk, "amount": str(charge.amount)}, status=201)
