"""The bank's API. Card charges and refunds honour idempotency keys; its wires are older than those."""

from collections.abc import Callable
from functools import wraps
from typing import Any

from django.conf import settings
from django.http import HttpRequest, JsonResponse
from django.shortcuts import get_object_or_404
from django.utils.crypto import constant_time_compare
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_GET, require_POST

from django_idempotency.decorators import idempotency_exempt, idempotent, published_as
from example_project.bank.forms import CardForm, WireForm
from example_project.bank.models import Charge

# A token, as a form in the customer's browser would have got it for a card. Numbers never come here.
EMPTY_CARD = "tok_empty"


@published_as("Each merchant has keys of its own.")
def merchant(request: HttpRequest) -> str:
    """Return who sends the request, by his token; "" if it is nobody that the bank knows."""
    sent = request.headers.get("Authorization", "").encode()
    return "shop" if constant_time_compare(sent, f"Bearer {settings.BANK_TOKEN}".encode()) else ""


def merchant_required(view: Callable[..., JsonResponse]) -> Callable[..., JsonResponse]:
    """Let in merchants, and nobody else."""

    @wraps(view)
    def guarded(request: HttpRequest, *args: Any, **kwargs: Any) -> JsonResponse:
        if not merchant(request):
            return JsonResponse({"detail": "A merchant's token is needed."}, status=401)
        return view(request, *args, **kwargs)

    return guarded


@csrf_exempt
@require_POST
@merchant_required
@idempotent(required=True, scope=merchant, wait=5.0)
def cards(request: HttpRequest) -> JsonResponse:
    """Charge a card. A card that is declined is so for every retry: what is returned is remembered."""
    form = CardForm(request)
    if not form.is_valid():
        return JsonResponse(form.errors, status=400)
    card = form.cleaned_data.pop("card")
    if card == EMPTY_CARD:
        return JsonResponse({"id": None, "declined": True}, status=402)
    return spell(Charge.objects.create(way=Charge.Way.CARD, **form.cleaned_data), status=201)


@csrf_exempt
@require_POST
@merchant_required
@idempotency_exempt
def wires(request: HttpRequest) -> JsonResponse:
    """Take money by wire: each time that somebody asks, whatever key he sends."""
    form = WireForm(request)
    if not form.is_valid():
        return JsonResponse(form.errors, status=400)
    return spell(Charge.objects.create(way=Charge.Way.WIRE, **form.cleaned_data), status=201)


@csrf_exempt
@require_POST
@merchant_required
@idempotent(required=True, scope=merchant, wait=5.0)
def refunds(_request: HttpRequest, pk: int) -> JsonResponse:
    """Give the money back."""
    charge = get_object_or_404(Charge.objects.select_for_update(), pk=pk)
    if charge.refunded:
        return JsonResponse({"detail": "It was refunded before."}, status=410)
    charge.refunded = True
    charge.save(update_fields=["refunded"])
    return spell(charge, status=201)


@require_GET
@merchant_required
def charges(request: HttpRequest) -> JsonResponse:
    """Show what was charged, and for what: `?reference=` asks for one."""
    found = Charge.objects.order_by("pk")
    if "reference" in request.GET:
        found = found.filter(reference=request.GET["reference"])
    return JsonResponse({"charges": [as_json(charge) for charge in found]})


def spell(charge: Charge, *, status: int) -> JsonResponse:
    """Answer with a charge."""
    return JsonResponse(as_json(charge), status=status)


def as_json(charge: Charge) -> dict[str, object]:
    """Tell of a charge."""
    return {
        "id": charge.pk,
        "declined": False,
        "way": charge.way,
        "reference": charge.reference,
        "amount": str(charge.amount),
        "refunded": charge.refunded,
    }
