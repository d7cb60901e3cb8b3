"""Orders from RabbitMQ, by kombu."""

import time
from typing import Any

from kombu import Connection, Message, Producer, Queue
from kombu.mixins import ConsumerMixin

from example_project.orders.messages import Verdict, receive

# RabbitMQ delivers a returned message again at once: this many seconds it is kept before.
PAUSE = 0.5


class OrderConsumer(ConsumerMixin):
    """Take orders from a queue, one at a time; what is rejected goes to a queue of its own."""

    def __init__(self, url: str, name: str) -> None:
        self.connection = Connection(url)
        self.queue, self.rejected = queues(name)

    def get_consumers(self, make: Any, channel: Any) -> list[Any]:
        self.rejected(channel).declare()
        return [make([self.queue], on_message=self.on_message, prefetch_count=1, accept=None)]

    def on_message(self, message: Message) -> None:
        """Receive an order, then answer the broker: after the commit."""
        body: Any = message.body  # Text, where the producer has named a character set.
        content = body.encode() if isinstance(body, str) else body
        match receive(message.properties.get("message_id"), content):
            case Verdict.ACKNOWLEDGE:
                message.ack()
            case Verdict.RETURN:
                time.sleep(PAUSE)
                message.requeue()
            case Verdict.REJECT:
                message.reject()

    def stop(self) -> None:
        """End after the message that is being received."""
        self.should_stop = True


def publish(url: str, name: str, message_id: str | None, body: bytes) -> None:
    """Send an order; the same *message_id* whenever it is sent again."""
    with Connection(url) as connection:
        Producer(connection).publish(
            body,
            routing_key=name,
            declare=queues(name),
            message_id=message_id,
            content_type="application/json",
            content_encoding="binary",
            delivery_mode=2,
            retry=True,
        )


def queues(name: str) -> tuple[Queue, Queue]:
    """Return the queue of orders, and the one of what was rejected."""
    rejected = f"{name}.rejected"
    arguments = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": rejected}
    return Queue(name, queue_arguments=arguments), Queue(rejected)
