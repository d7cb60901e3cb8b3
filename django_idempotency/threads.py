"""Synchronous blocks in coroutines: each on the request's one thread, and left whatever is cancelled."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AbstractContextManager, asynccontextmanager
from typing import Any, TypeVar

from asgiref.sync import sync_to_async

T = TypeVar("T")


async def on_thread(call: Callable[[], T]) -> T:
    """Return *call*'s value, run on the one thread that all ORM calls of this request share."""
    return await sync_to_async(call, thread_sensitive=True)()


# Note [A block is left even when its task is cancelled]
# A client that goes away cancels the request's task, at whichever await it is. A transaction that was entered, or
# is just being entered on the other thread, must be left all the same: its connection outlives the request. So
# entering and leaving run as tasks of their own, which the cancellation does not reach, and are waited for.
@asynccontextmanager
async def entered(block: AbstractContextManager[T]) -> AsyncIterator[T]:
    """Enter and leave *block* on the request's thread; a cancellation leaves it like any exception."""
    # The two calls are those of the `with` statement, which cannot span threads.
    value, cancelled = await _uncancelled(on_thread(block.__enter__))
    try:
        if cancelled is not None:
            raise cancelled
        yield value
    except BaseException as error:
        raised = error
        suppressed, _ = await _uncancelled(
            on_thread(lambda: block.__exit__(type(raised), raised, raised.__traceback__))
        )
        if not suppressed:
            raise
    else:
        _, cancelled = await _uncancelled(on_thread(lambda: block.__exit__(None, None, None)))
        if cancelled is not None:
            raise cancelled


async def _uncancelled(work: Coroutine[Any, Any, T]) -> tuple[T, asyncio.CancelledError | None]:
    """Finish *work*, and return its value with the cancellation that arrived meanwhile."""
    task = asyncio.ensure_future(work)
    cancelled = None
    while True:
        try:
            return await asyncio.shield(task), cancelled
        except asyncio.CancelledError as error:
            if task.cancelled():
                raise
            cancelled = error
