"""What the steps of a checkout do to the shop's database. Each runs in the transaction of its step.

What they return is recorded, so it is made of what JSON has.
"""

from django.core.mail import EmailMessage
from django.db import transaction
from django.db.models import F
from django.utils import timezone

from example_project.shop.models import Item, Order, Receipt


def create_order(item: Item, quantity: int, email: str) -> dict[str, object]:
    """Write an order down, at today's price."""
    order = Order.objects.create(item=item, quantity=quantity, total=quantity * item.price, email=email)
    return {"id": order.pk, "reference": order.reference, "total": str(order.total)}


def cancel_order(order_id: int) -> None:
    """Take an order back."""
    Order.objects.filter(pk=order_id).update(state=Order.State.CANCELLED)


def confirm(order_id: int) -> bool:
    """Take the goods from the stock for an order that is paid; tell whether there were enough."""
    order = Order.objects.get(pk=order_id)
    taken = Item.objects.filter(pk=order.item_id, stock__gte=order.quantity).update(stock=F("stock") - order.quantity)
    if taken:
        Order.objects.filter(pk=order_id).update(state=Order.State.PAID)
    return bool(taken)


def write_receipt(order_id: int) -> None:
    """Put a receipt into the outbox: `manage.py send_receipts` sends it."""
    order = Order.objects.select_related("item").get(pk=order_id)
    Receipt.objects.create(order=order, text=f"{order}: {order.total}. Thank you!")


def send_next_receipt() -> bool:
    """Send a receipt that is not sent yet; return whether there was one.

    It is sent at least once: who dies between the mail and the commit lets it be sent again. The mail's
    Message-ID is the same then, so that the reader's mail program may show it once.
    """
    with transaction.atomic():
        waiting = Receipt.objects.select_for_update(skip_locked=True).filter(sent=None)
        receipt = waiting.order_by("pk").first()
        if receipt is None:
            return False
        EmailMessage(
            "Your receipt",
            receipt.text,
            to=[receipt.order.email],
            headers={"Message-ID": f"<receipt-{receipt.pk}@shop.example>"},
        ).send()
        receipt.sent = timezone.now()
        receipt.save(update_fields=["sent"])
    return True
