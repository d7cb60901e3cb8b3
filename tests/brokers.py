"""The message brokers that some tests need: where each is found."""

import os
import socket
from dataclasses import dataclass
from urllib.parse import urlsplit


@dataclass(frozen=True, slots=True, kw_only=True)
class Broker:
    """A broker's name, and its address."""

    name: str
    url: str

    def answers(self) -> bool:
        """Tell whether something takes connections there."""
        parts = urlsplit(self.url)
        try:
            socket.create_connection((parts.hostname or "", parts.port or 0), timeout=5).close()
        except OSError:
            return False
        return True


def external(name: str, variable: str, default: str) -> Broker:
    """Return the broker whose URL is in the environment's *variable*."""
    return Broker(name=name, url=os.environ.get(variable) or default)


BROKERS = {
    broker.name: broker
    for broker in (
        external("rabbitmq", "RABBITMQ_URL", "amqp://guest:guest@127.0.0.1:5672//"),
        external("redis", "REDIS_URL", "redis://127.0.0.1:6379/0"),
        external("nats", "NATS_URL", "nats://127.0.0.1:4222"),
    )
}
