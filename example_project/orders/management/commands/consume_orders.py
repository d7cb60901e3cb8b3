"""Place the orders that come as messages."""

import logging
import signal
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from example_project.orders.brokers import add_arguments, broker_at


class Command(BaseCommand):
    """The command."""

    help = "Places the orders that come as messages from RabbitMQ or NATS JetStream, each one once. Ctrl-C ends."

    def add_arguments(self, parser: CommandParser) -> None:
        add_arguments(parser)
        parser.add_argument(
            "--ack-wait",
            type=float,
            default=30.0,
            help="seconds after which JetStream delivers a message again that was not answered (30)",
        )

    def handle(self, *, url: str, queue: str, ack_wait: float, **_: Any) -> None:
        logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
        broker = broker_at(url)
        if url.startswith("nats"):
            consumer = broker.OrderConsumer(url, queue, ack_wait=ack_wait)
        else:
            consumer = broker.OrderConsumer(url, queue)
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: consumer.stop())
        self.stdout.write(f"Waiting for orders in {queue} at {url}.")
        consumer.run()
