"""Accounts, and what moves their balances."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any, ClassVar

from django.conf import settings
from django.core.validators import MinValueValidator
from django.db import models
from django.db.models import Sum

if TYPE_CHECKING:
    from django.contrib.auth.base_user import AbstractBaseUser
    from django.contrib.auth.models import AnonymousUser

CENT = Decimal("0.01")


class AccountQuerySet(models.QuerySet["Account"]):
    """Accounts."""

    def visible_to(self, user: AbstractBaseUser | AnonymousUser) -> AccountQuerySet:
        """Keep what *user* may see and charge: staff everything, others their own."""
        return self if getattr(user, "is_staff", False) else self.filter(owner=user.pk)


class Account(models.Model):
    """Money of one owner.

    The balance is what it opened with, less what was charged and sent, plus what was received.
    """

    owner = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="accounts")
    name = models.CharField(max_length=100)
    opening = models.DecimalField(max_digits=12, decimal_places=2, default=Decimal(0))
    balance = models.DecimalField(max_digits=12, decimal_places=2, default=Decimal(0))

    objects = AccountQuerySet.as_manager()

    def __str__(self) -> str:
        return self.name

    def adds_up(self) -> bool:
        """Tell whether the balance is what the charges and transfers say."""
        moves = total(self.received) - total(self.sent) - total(self.charges)
        return bool(self.balance == self.opening + moves)


class Charge(models.Model):
    """Money taken from an account."""

    account = models.ForeignKey(Account, on_delete=models.PROTECT, related_name="charges")
    amount = models.DecimalField(max_digits=12, decimal_places=2, validators=[MinValueValidator(CENT)])
    description = models.CharField(max_length=100)
    created = models.DateTimeField(auto_now_add=True)

    objects: ClassVar[models.Manager[Charge]] = models.Manager()

    def __str__(self) -> str:
        return f"{self.amount} for {self.description}"


class Order(models.Model):
    """Goods, paid with one charge."""

    charge = models.OneToOneField(Charge, on_delete=models.PROTECT)
    item = models.CharField(max_length=100)
    quantity = models.PositiveIntegerField(validators=[MinValueValidator(1)])

    def __str__(self) -> str:
        return f"{self.quantity} of {self.item}"


class Transfer(models.Model):
    """Money moved from one account to another."""

    source = models.ForeignKey(Account, on_delete=models.PROTECT, related_name="sent")
    target = models.ForeignKey(Account, on_delete=models.PROTECT, related_name="received")
    amount = models.DecimalField(max_digits=12, decimal_places=2, validators=[MinValueValidator(CENT)])
    created = models.DateTimeField(auto_now_add=True)

    def __str__(self) -> str:
        return f"{self.amount} from {self.source} to {self.target}"


def total(rows: models.Manager[Any]) -> Decimal:
    """Add up the amounts of *rows*. SQLite adds floats: hence rounded to the cent."""
    return Decimal(rows.aggregate(total=Sum("amount", default=0))["total"]).quantize(CENT)
