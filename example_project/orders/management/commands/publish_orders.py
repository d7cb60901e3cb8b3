"""Send orders as messages, for `consume_orders`."""

import json
import uuid
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from example_project.orders.brokers import add_arguments, broker_at


class Command(BaseCommand):
    """The command."""

    help = "Sends orders to RabbitMQ or NATS JetStream, each several times, as a producer does whose line is bad."

    def add_arguments(self, parser: CommandParser) -> None:
        add_arguments(parser)
        parser.add_argument("--account", type=int, required=True, help="number of the account that pays")
        parser.add_argument("--orders", type=int, default=3, help="how many orders (3)")
        parser.add_argument("--copies", type=int, default=2, help="how often each is sent (2)")
        parser.add_argument("--without-id", action="store_true", help="leave out what tells a copy: it is rejected")

    def handle(self, *, url: str, queue: str, account: int, orders: int, copies: int, **options: Any) -> None:
        broker = broker_at(url)
        for _ in range(orders):
            # Made once for each order, outside of what is tried again.
            message_id = None if options["without_id"] else str(uuid.uuid4())
            order = {"account": account, "item": "coffee", "quantity": 1, "unit_price": "4.20"}
            for _ in range(copies):
                broker.publish(url, queue, message_id, json.dumps(order).encode())
            self.stdout.write(f"Sent {message_id}, {copies} times.")
