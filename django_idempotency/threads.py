"""Synchronous blocks in coroutines: each on the request's one thread, and left whatever is cancelled."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager
from contextvars import ContextVar
from typing import Any, Final, TypeVar

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


# Note [Coroutines that share a connection]
# Within one request, or one plain event loop, all tasks share a thread, hence a connection and its transaction. Two
# operations that are awaited at the same time would be savepoints of each other: the one that fails would take back
# what the other was told is kept. So each coroutine that runs an operation has a name, which the operations that it
# calls inherit by context, and the store refuses an operation inside of one that is none of its callers.
_callers: Final[ContextVar[tuple[object, ...]]] = ContextVar("callers", default=())


@contextmanager
def named_caller() -> Iterator[None]:
    """Give this coroutine, and what it calls, a name for the time of the block."""
    token = _callers.set((*_callers.get(), object()))
    try:
        yield
    finally:
        _callers.reset(token)


def callers() -> tuple[object, ...]:
    """Return the names of the coroutines that led here, the innermost last; none in code that awaits nothing."""
    return _callers.get()


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
