"""Orders from NATS JetStream."""

import asyncio

import nats
from asgiref.sync import sync_to_async
from nats.aio.msg import Msg
from nats.errors import TimeoutError as NothingYet
from nats.js import JetStreamContext
from nats.js.api import AckPolicy, ConsumerConfig, Header
from nats.js.errors import NotFoundError

from example_project.orders.messages import Verdict, receive

# Seconds that JetStream keeps a returned message before it delivers it again.
PAUSE = 0.5


class OrderConsumer:
    """Take orders from a stream, one at a time."""

    def __init__(self, url: str, name: str, *, ack_wait: float) -> None:
        self.url, self.name, self.ack_wait = url, name, ack_wait
        self.should_stop = False

    def run(self) -> None:
        """Receive orders until told to stop."""
        asyncio.run(self.consume())

    async def consume(self) -> None:
        """Receive orders until told to stop."""
        async with await nats.connect(self.url) as client:
            jetstream = client.jetstream()
            await ensure_stream(jetstream, self.name)
            config = ConsumerConfig(ack_policy=AckPolicy.EXPLICIT, ack_wait=self.ack_wait)
            orders = await jetstream.pull_subscribe(self.name, durable=self.name, config=config)
            while not self.should_stop:
                try:
                    (message,) = await orders.fetch(1, timeout=1)
                except NothingYet:
                    continue
                await self.on_message(message)

    async def on_message(self, message: Msg) -> None:
        """Receive an order, then answer the broker: after the commit."""
        message_id = (message.headers or {}).get(Header.MSG_ID)
        # On the one thread that has Django's connection to the database.
        match await sync_to_async(receive)(message_id, message.data):
            case Verdict.ACKNOWLEDGE:
                await message.ack_sync()
            case Verdict.RETURN:
                await message.nak(delay=PAUSE)
            case Verdict.REJECT:
                await message.term()

    def stop(self) -> None:
        """End after the message that is being received."""
        self.should_stop = True


def publish(url: str, name: str, message_id: str | None, body: bytes) -> None:
    """Send an order; the same *message_id* whenever it is sent again."""

    async def send() -> None:
        async with await nats.connect(url) as client:
            jetstream = client.jetstream()
            await ensure_stream(jetstream, name)
            await jetstream.publish(name, body, headers={Header.MSG_ID: message_id} if message_id else None)

    asyncio.run(send())


async def ensure_stream(jetstream: JetStreamContext, name: str) -> None:
    """Make the stream of orders, unless it is there."""
    try:
        await jetstream.stream_info(name)
    except NotFoundError:
        await jetstream.add_stream(name=name, subjects=[name])
