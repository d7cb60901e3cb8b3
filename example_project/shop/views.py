"""Two ways to check out: by card, whose bank honours keys, and by wire, whose bank does not."""

from typing import Any

from django.conf import settings
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema
from rest_framework.decorators import api_view
from rest_framework.request import Request
from rest_framework.response import Response

from django_idempotency.decorators import idempotent
from django_idempotency.steps import Abort, SteppedOperation
from example_project.shop import bank, services
from example_project.shop.serializers import CardOrderSerializer, WireOrderSerializer

DECLINED = {"detail": "The card was declined."}
SOLD_OUT = {"detail": "It is sold out. You get your money back."}


@extend_schema(request=CardOrderSerializer, responses={201: OpenApiTypes.OBJECT})
@api_view(["POST"])
@idempotent(steps=True, lease=settings.CHECKOUT_LEASE, keep_request=True)
def checkouts(request: Request, *, operation: SteppedOperation) -> Response:
    """Order goods, and pay by card.

    Whatever dies, whenever: in the end, there is one order, one charge and one receipt.
    """
    data = validated(CardOrderSerializer, request)
    order = create_order(operation, data)
    charge = operation.call(
        "charge",
        lambda key: bank.charge_card(order["reference"], order["total"], data["card"], key=key),
        undo=lambda charge, key: None if charge["declined"] else bank.refund(charge["id"], key=key),
    )
    if charge["declined"]:
        raise Abort(Response(DECLINED, status=402))
    return complete(operation, order, charge)


@extend_schema(request=WireOrderSerializer, responses={201: OpenApiTypes.OBJECT})
@api_view(["POST"])
@idempotent(steps=True, lease=settings.CHECKOUT_LEASE, keep_request=True)
def wire_checkouts(request: Request, *, operation: SteppedOperation) -> Response:
    """Order goods, and pay by wire: never twice.

    Where nobody knows whether it was paid, a person has to say so, in the admin.
    """
    order = create_order(operation, validated(WireOrderSerializer, request))
    charge = operation.call(
        "wire",
        lambda _key: bank.charge_wire(order["reference"], order["total"]),
        if_uncertain="hold",
        undo=lambda charge, key: bank.refund(charge["id"], key=key),
    )
    return complete(operation, order, charge)


def validated(serializer_class: type[WireOrderSerializer], request: Request) -> dict[str, Any]:
    """Return what the request asks for; before the first step, so that a request that is refused leaves nothing."""
    serializer = serializer_class(data=request.data)
    serializer.is_valid(raise_exception=True)
    found: dict[str, Any] = serializer.validated_data
    return found


def create_order(operation: SteppedOperation, data: dict[str, Any]) -> dict[str, Any]:
    """Write the order down. The bank is told its reference, so it comes before the money."""
    order: dict[str, Any] = operation.step(
        "create order",
        lambda: services.create_order(data["item"], data["quantity"], data["email"]),
        undo=lambda order: services.cancel_order(order["id"]),
    )
    return order


def complete(operation: SteppedOperation, order: dict[str, Any], charge: dict[str, Any]) -> Response:
    """Confirm what is paid, and leave the receipt for `manage.py send_receipts`."""
    if not operation.step("confirm", lambda: services.confirm(order["id"])):
        raise Abort(Response(SOLD_OUT, status=410))
    operation.step("receipt", lambda: services.write_receipt(order["id"]))
    return Response({**order, "charge": charge["id"]}, status=201)
