"""What is sold, to whom a receipt goes."""

from __future__ import annotations

from decimal import Decimal
from typing import ClassVar

from django.core.validators import MinValueValidator
from django.db import models


class Item(models.Model):
    """Something to buy, while there is some of it."""

    name = models.CharField(max_length=80, unique=True)
    price = models.DecimalField(max_digits=8, decimal_places=2, validators=[MinValueValidator(Decimal("0.01"))])
    stock = models.PositiveIntegerField(default=0)

    objects: ClassVar[models.Manager[Item]] = models.Manager()

    def __str__(self) -> str:
        return self.name


class Order(models.Model):
    """An order; the bank knows it by its reference."""

    class State(models.TextChoices):
        OPEN = "open"
        PAID = "paid"
        CANCELLED = "cancelled"

    item = models.ForeignKey(Item, on_delete=models.PROTECT, related_name="orders")
    quantity = models.PositiveIntegerField(validators=[MinValueValidator(1)])
    total = models.DecimalField(max_digits=12, decimal_places=2)
    email = models.EmailField()
    state = models.CharField(max_length=9, choices=State, default=State.OPEN)
    created = models.DateTimeField(auto_now_add=True)

    objects: ClassVar[models.Manager[Order]] = models.Manager()

    def __str__(self) -> str:
        return f"{self.quantity} of {self.item}"

    @property
    def reference(self) -> str:
        """What the bank is told that the money is for."""
        return f"order-{self.pk}"


class Receipt(models.Model):
    """A row of the outbox: a mail that is to be sent, or was."""

    order = models.ForeignKey(Order, on_delete=models.PROTECT, related_name="receipts")
    text = models.TextField()
    created = models.DateTimeField(auto_now_add=True)
    sent = models.DateTimeField(null=True, blank=True)

    objects: ClassVar[models.Manager[Receipt]] = models.Manager()

    def __str__(self) -> str:
        return f"Receipt of {self.order}"
