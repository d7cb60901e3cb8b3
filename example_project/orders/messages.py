"""What to do with a message, whatever broker it came from."""

import enum
import json
import logging
from decimal import Decimal

from django import forms
from django.db import close_old_connections

from django_idempotency.consumers import process_once
from django_idempotency.exceptions import IdempotencyError, RequestInProgress
from example_project.payments import services
from example_project.payments.models import Account

CONSUMER = "orders"

logger = logging.getLogger(__name__)


class Verdict(enum.Enum):
    """What the broker is told about a message."""

    ACKNOWLEDGE = "acknowledge: it is done, or was"
    RETURN = "return: deliver it again later"
    REJECT = "reject: it will never be of use"


class OrderForm(forms.Form):
    """An order, as a message carries it."""

    account = forms.ModelChoiceField(Account.objects.all())
    item = forms.CharField(max_length=80)
    quantity = forms.IntegerField(min_value=1, max_value=1000)
    unit_price = forms.DecimalField(max_digits=8, decimal_places=2, min_value=Decimal("0.01"))


def receive(message_id: str | None, body: bytes) -> Verdict:
    """Place the order that a message asks for, once; tell what to do with the message.

    Its effects are committed when this returns ACKNOWLEDGE.
    """
    close_old_connections()  # As before each request: the database may have closed it meanwhile.
    try:
        outcome = process_once(CONSUMER, message_id, lambda: place(body), body=body)
    except RequestInProgress:
        logger.info("%s is being processed elsewhere", message_id)
        return Verdict.RETURN
    except (IdempotencyError, ValueError) as error:  # No id, another message's id, or no order.
        logger.error("%s is rejected: %s", message_id, error)  # noqa: TRY400 - nothing that a traceback explains
        return Verdict.REJECT
    except Exception:
        logger.exception("%s is returned", message_id)
        return Verdict.RETURN
    logger.info("%s %s", message_id, "was processed before" if outcome.replayed else "is processed")
    return Verdict.ACKNOWLEDGE


def place(body: bytes) -> None:
    """Place the order in *body*; an order that cannot be paid is declined, which is remembered, too.

    Raises: ValueError, when it is no order.
    """
    form = OrderForm(json.loads(body))
    if not form.is_valid():
        raise ValueError(form.errors.as_json())
    try:
        services.order(**form.cleaned_data)
    except services.InsufficientFundsError:
        logger.info("declined: %s", body)
