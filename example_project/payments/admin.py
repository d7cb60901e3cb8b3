"""Accounts and what moved them, to look at."""

from django.contrib import admin

from example_project.payments.models import Account, Charge, Order, Transfer


@admin.register(Account)
class AccountAdmin(admin.ModelAdmin):  # type: ignore[type-arg]  # not subscriptable at run time
    """Accounts; balances move by charges and transfers only."""

    list_display = ("name", "owner", "opening", "balance", "adds_up")
    readonly_fields = ("balance",)

    @admin.display(boolean=True)
    def adds_up(self, account: Account) -> bool:
        """Show whether the balance is what the charges and transfers say."""
        return account.adds_up()


@admin.register(Charge)
class ChargeAdmin(admin.ModelAdmin):  # type: ignore[type-arg]  # not subscriptable at run time
    """Charges."""

    list_display = ("id", "account", "amount", "description", "created")
    list_filter = ("account",)
    search_fields = ("description",)


@admin.register(Order)
class OrderAdmin(admin.ModelAdmin):  # type: ignore[type-arg]  # not subscriptable at run time
    """Orders."""

    list_display = ("id", "item", "quantity", "charge")


@admin.register(Transfer)
class TransferAdmin(admin.ModelAdmin):  # type: ignore[type-arg]  # not subscriptable at run time
    """Transfers."""

    list_display = ("id", "source", "target", "amount", "created")
