"""Put some goods on the shelf, and let somebody in."""

from typing import Any

from django.core.management.base import BaseCommand

from example_project.demo.people import make_customers
from example_project.shop.models import Item


class Command(BaseCommand):
    """The command."""

    help = "Puts a hundred mugs on the shelf, and prints the token of a customer."

    def handle(self, **_: Any) -> None:
        Item.objects.update_or_create(name="mug", defaults={"price": "4.20", "stock": 100})
        self.stdout.write(make_customers()[0].token)
