"""Goods, orders and the outbox, to look at."""

from django.contrib import admin

from example_project.shop.models import Item, Order, Receipt


@admin.register(Item)
class ItemAdmin(admin.ModelAdmin):  # type: ignore[type-arg]  # not subscriptable at run time
    """Goods."""

    list_display = ("name", "price", "stock")


@admin.register(Order)
class OrderAdmin(admin.ModelAdmin):  # type: ignore[type-arg]  # not subscriptable at run time
    """Orders."""

    list_display = ("reference", "item", "quantity", "total", "state", "created")
    list_filter = ("state",)


@admin.register(Receipt)
class ReceiptAdmin(admin.ModelAdmin):  # type: ignore[type-arg]  # not subscriptable at run time
    """The outbox."""

    list_display = ("id", "order", "created", "sent")
