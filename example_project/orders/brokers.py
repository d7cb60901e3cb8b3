"""Which broker an address means."""

from importlib import import_module
from typing import Any

from django.conf import settings
from django.core.management.base import CommandError, CommandParser

MODULES = {"amqp": "rabbitmq", "nats": "jetstream"}


def broker_at(url: str) -> Any:
    """Return the module that speaks to the broker at *url*.

    Raises: CommandError, when there is none, or what it needs is not installed.
    """
    scheme = url.partition(":")[0]
    if scheme not in MODULES:
        raise CommandError(f"{url} is neither amqp://… (RabbitMQ) nor nats://… (NATS JetStream).")
    try:
        return import_module(f"example_project.orders.{MODULES[scheme]}")
    except ImportError as error:
        raise CommandError(f'{error}. Install what brokers need: pip install -e ".[example,brokers]"') from error


def add_arguments(parser: CommandParser) -> None:
    """Add what all commands with orders take."""
    parser.add_argument(
        "--url",
        default=settings.ORDERS_URL,
        help="amqp://… for RabbitMQ, nats://… for NATS JetStream (ORDERS_URL, %(default)s)",
    )
    parser.add_argument("--queue", default="orders", help="the queue, or the stream and its subject (orders)")
