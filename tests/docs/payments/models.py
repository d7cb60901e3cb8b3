"""What the documentation's views write."""

from django.db import models


class Account(models.Model):
    """Somebody's money."""

    name = models.CharField(max_length=100)
    balance = models.IntegerField(default=0)

    def __str__(self) -> str:
        return f"{self.name}: {self.balance}"


class Charge(models.Model):
    """Money taken."""

    amount = models.DecimalField(max_digits=8, decimal_places=2)
    description = models.CharField(max_length=100, blank=True)

    def __str__(self) -> str:
        return f"{self.amount} for {self.description}"


class Invoice(models.Model):
    """A customer's month; there is one of each."""

    customer = models.CharField(max_length=100)
    month = models.CharField(max_length=7)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["customer", "month"], name="one_invoice_a_month")]

    def __str__(self) -> str:
        return f"{self.customer}, {self.month}"


class Order(models.Model):
    """Goods that are paid, and then shipped."""

    status = models.CharField(max_length=10, default="paid")

    def __str__(self) -> str:
        return f"order {self.pk}: {self.status}"
