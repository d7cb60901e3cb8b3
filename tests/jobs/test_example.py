"""The worked examples: `manage.py consume_orders` on RabbitMQ and NATS JetStream, and the Celery app."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import nats
import pytest
from kombu import Connection
from pytest_django import DjangoDbBlocker

from tests.gate import TIMEOUT
from tests.jobs.example import Example, database, running

pytestmark = pytest.mark.django_db

on_brokers = [
    pytest.param("rabbitmq", marks=pytest.mark.broker("rabbitmq")),
    pytest.param("nats", marks=pytest.mark.broker("nats")),
]


@pytest.fixture(scope="module")
def example_database(engine: str, django_db_blocker: DjangoDbBlocker) -> Iterator[tuple[str, int]]:
    with django_db_blocker.unblock(), database() as found:
        yield found


@pytest.fixture(params=on_brokers)
def example(request: pytest.FixtureRequest, example_database: tuple[str, int]) -> Iterator[Example]:
    with running(request.param, *example_database) as example:
        yield example


@pytest.fixture
def placed(example: Example) -> Placed:
    return Placed(example)


class Placed:
    """How many orders were placed since the test began."""

    def __init__(self, example: Example) -> None:
        self.example = example
        self.before = example.count("payments_order")

    @property
    def orders(self) -> int:
        return self.example.count("payments_order") - self.before


class TestConsumeOrders:
    def test_killed_between_commit_and_acknowledgement_places_the_order_once(self, example, placed):
        gate = example.gate()
        example.publish("--orders=1", "--copies=1")
        first = example.consume(AFTER=gate.path)
        gate.wait()
        example.kill(first)
        assert placed.orders == 1

        example.consume()
        example.wait_for("was processed before")

        assert placed.orders == 1

    def test_killed_before_the_commit_leaves_the_order_to_the_next(self, example, placed):
        gate = example.gate()
        example.publish("--orders=1", "--copies=1")
        first = example.consume(INSIDE=gate.path)
        gate.wait()
        example.kill(first)

        example.consume()
        example.wait_for("is processed")

        assert placed.orders == 1

    @pytest.mark.engine("postgresql", "mariadb")
    def test_duplicate_in_flight_is_returned(self, example, placed):
        gate = example.gate()
        # JetStream lets only one copy in, but gives it to another consumer when the first one takes too long.
        example.publish("--orders=1", "--copies=2")
        example.consume(INSIDE=gate.path)
        gate.wait()
        example.consume()
        example.wait_for("is being processed elsewhere", times=2)
        gate.open()

        # JetStream has one message, which the first consumer acknowledges.
        example.wait_for("was processed before" if example.broker == "rabbitmq" else "is processed")
        example.wait_until(lambda: waiting(example) == 0, "an empty queue")

        assert placed.orders == 1

    def test_copies_are_acknowledged(self, example, placed):
        example.publish("--orders=3", "--copies=2")
        process = example.consume()
        example.wait_until(lambda: placed.orders == 3, "3 orders")
        example.wait_for("was processed before", times=3 if example.broker == "rabbitmq" else 0)
        process.terminate()

        assert process.wait(timeout=TIMEOUT) == 0
        assert placed.orders == 3
        assert waiting(example) == 0

    def test_message_without_an_id_is_rejected(self, example, placed):
        example.publish("--orders=1", "--copies=1", "--without-id")
        example.consume()

        example.wait_for("None is rejected: The message has no id")

        assert placed.orders == 0


@pytest.mark.broker("rabbitmq")
class TestCeleryApp:
    @pytest.mark.parametrize("example", on_brokers[:1], indirect=True)
    def test_fee_that_is_asked_for_twice_is_charged_once(self, example):
        before = example.count("payments_charge")
        example.manage(
            "shell",
            "-c",
            f"from example_project.orders.tasks import charge_fee as fee; "
            f"[fee.apply_async(({example.account}, '2026-11', '1.50'), queue='{example.queue}') for _ in range(2)]",
        )
        arguments = ("worker", "-Q", example.queue, "--pool=solo", "--without-gossip", "--without-mingle")
        example.start("-m", "celery", "-A", "example_project.celery", *arguments, "--loglevel=INFO")

        example.wait_for("succeeded in", times=2)

        assert example.count("payments_charge") == before + 1


def waiting(example: Example) -> int:
    """Return how many messages wait in the queue, or are not answered."""
    if example.broker == "rabbitmq":
        with Connection(example.url) as connection:
            channel: Any = connection.default_channel
            queues = (example.queue, f"{example.queue}.rejected")
            return sum(channel.queue_declare(queue, passive=True).message_count for queue in queues)

    async def ask() -> int:
        async with await nats.connect(example.url) as client:
            info = await client.jetstream().consumer_info(example.queue, example.queue)
            return (info.num_ack_pending or 0) + (info.num_pending or 0)

    return asyncio.run(ask())
