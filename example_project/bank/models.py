"""The bank's books."""

from __future__ import annotations

from decimal import Decimal
from typing import ClassVar

from django.core.validators import MinValueValidator
from django.db import models


class Charge(models.Model):
    """Money taken from a card, or by wire; `reference` is what the merchant calls it.

    A reference is no key: it may be charged as often as somebody asks for it.
    """

    class Way(models.TextChoices):
        CARD = "card"
        WIRE = "wire"

    way = models.CharField(max_length=4, choices=Way)
    reference = models.CharField(max_length=100, db_index=True)
    amount = models.DecimalField(max_digits=12, decimal_places=2, validators=[MinValueValidator(Decimal("0.01"))])
    refunded = models.BooleanField(default=False)
    created = models.DateTimeField(auto_now_add=True)

    objects: ClassVar[models.Manager[Charge]] = models.Manager()

    def __str__(self) -> str:
        return f"{self.amount} for {self.reference}"
