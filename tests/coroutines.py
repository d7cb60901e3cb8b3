"""Coroutines as an ASGI server runs requests: each with a thread, hence with a connection, of its own."""

import asyncio
import threading
from collections.abc import Awaitable, Callable
from typing import Any

from asgiref.sync import ThreadSensitiveContext, sync_to_async
from django.db import connections

from tests.gate import TIMEOUT


def at_once(*calls: Callable[[], Awaitable[Any]]) -> list[Any]:
    """Run all *calls* at once on one event loop; return what they return or raise, in order."""

    async def request(call: Callable[[], Awaitable[Any]]) -> Any:
        async with ThreadSensitiveContext():
            try:
                return await call()
            finally:
                await sync_to_async(connections.close_all)()

    async def gather() -> list[Any]:
        return await asyncio.wait_for(
            asyncio.gather(*[request(call) for call in calls], return_exceptions=True), timeout=3 * TIMEOUT
        )

    return asyncio.run(gather())


class Stop:
    """A place in a thread where a test lets it stand, while the event loop goes on."""

    def __init__(self) -> None:
        self.reached = threading.Event()
        self.released = threading.Event()

    def __call__(self) -> None:
        """Stand here until released."""
        self.reached.set()
        assert self.released.wait(TIMEOUT)

    async def wait(self) -> None:
        """Return once a thread stands here."""
        assert await asyncio.to_thread(self.reached.wait, TIMEOUT)
