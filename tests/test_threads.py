"""Blocks in coroutines: entered and left on the request's thread, whatever is cancelled."""

import asyncio
import threading
from contextlib import contextmanager

import pytest
from asgiref.sync import async_to_sync, sync_to_async

from django_idempotency.threads import entered, on_thread
from tests.coroutines import Stop, at_once


class BlockError(Exception):
    """What is raised in or by a block."""


class Block:
    """A context manager that notes what happened to it, and where."""

    def __init__(self, *, entering=lambda: None, leaving=lambda: None, suppresses=False):
        self.entering = entering
        self.leaving = leaving
        self.suppresses = suppresses
        self.history = []
        self.threads = set()

    def __enter__(self):
        self.threads.add(threading.get_ident())
        self.entering()
        self.history.append("entered")
        return self

    def __exit__(self, kind, value, traceback):
        self.threads.add(threading.get_ident())
        self.leaving()
        self.history.append(kind)
        return self.suppresses


def fail():
    raise BlockError


def result_of(call):
    [result] = at_once(call)
    return result


async def cancel_at(stop, call):
    """Cancel *call* while a thread stands at *stop*, and let it end."""
    task = asyncio.ensure_future(call())
    await stop.wait()
    task.cancel()
    for _ in range(10):
        await asyncio.sleep(0)
    stop.released.set()
    return await task


class TestOnThread:
    def test_returns_the_value(self):
        assert async_to_sync(on_thread)(lambda: 1) == 1

    def test_raises_what_the_call_raises(self):
        with pytest.raises(BlockError):
            async_to_sync(on_thread)(fail)

    def test_all_calls_of_a_request_share_a_thread_with_the_orm(self):
        async def request():
            return await on_thread(threading.get_ident), await sync_to_async(threading.get_ident)()

        (ours, orms), (others, _) = at_once(request, request)

        assert ours == orms
        assert ours != others
        assert ours != threading.get_ident()

    def test_under_wsgi_that_is_the_thread_of_the_request(self):
        assert async_to_sync(on_thread)(threading.get_ident) == threading.get_ident()


class TestEntered:
    def test_yields_the_blocks_value_and_leaves_it(self):
        block = Block()

        async def request():
            async with entered(block) as value:
                return value

        assert result_of(request) is block
        assert block.history == ["entered", None]

    def test_entered_and_left_on_one_thread(self):
        block = Block()

        async def request():
            async with entered(block):
                return await on_thread(threading.get_ident)

        assert block.threads == {result_of(request)}

    def test_exception_leaves_the_block_and_goes_on(self):
        block = Block()

        async def request():
            async with entered(block):
                raise BlockError

        assert isinstance(result_of(request), BlockError)
        assert block.history == ["entered", BlockError]

    def test_block_may_suppress_the_exception(self):
        block = Block(suppresses=True)

        async def request():
            async with entered(block):
                fail()
            return "suppressed"

        assert result_of(request) == "suppressed"

    def test_block_may_raise_another_exception(self):
        @contextmanager
        def block():
            try:
                yield
            except BlockError as error:
                raise ValueError from error

        async def request():
            async with entered(block()):
                raise BlockError

        assert isinstance(result_of(request), ValueError)

    def test_block_that_cannot_be_entered(self):
        async def request():
            async with entered(Block(entering=fail)):
                pass

        assert isinstance(result_of(request), BlockError)

    def test_block_that_cannot_be_left(self):
        async def request():
            async with entered(Block(leaving=fail)):
                pass

        assert isinstance(result_of(request), BlockError)

    def test_cancelled_while_entering(self):
        stop = Stop()
        block = Block(entering=stop)
        reached = []

        async def request():
            async with entered(block):
                reached.append(True)

        result = result_of(lambda: cancel_at(stop, request))

        assert isinstance(result, asyncio.CancelledError)
        assert block.history == ["entered", asyncio.CancelledError]
        assert not reached

    def test_cancelled_while_a_block_is_entered_that_cannot_be(self):
        stop = Stop()

        def entering():
            stop()
            fail()

        async def request():
            async with entered(Block(entering=entering)):
                pass

        assert isinstance(result_of(lambda: cancel_at(stop, request)), BlockError)

    def test_cancelled_inside(self):
        stop = Stop()
        block = Block()

        async def request():
            async with entered(block):
                stop.reached.set()
                await asyncio.Event().wait()

        result = result_of(lambda: cancel_at(stop, request))

        assert isinstance(result, asyncio.CancelledError)
        assert block.history == ["entered", asyncio.CancelledError]

    def test_cancelled_while_leaving(self):
        stop = Stop()
        block = Block(leaving=stop)

        async def request():
            async with entered(block):
                pass

        result = result_of(lambda: cancel_at(stop, request))

        assert isinstance(result, asyncio.CancelledError)
        assert block.history == ["entered", None]

    def test_cancelled_while_leaving_with_an_exception(self):
        stop = Stop()
        block = Block(leaving=stop)

        async def request():
            async with entered(block):
                raise BlockError

        result = result_of(lambda: cancel_at(stop, request))

        assert isinstance(result, BlockError)
        assert block.history == ["entered", BlockError]

    def test_cancelled_twice(self):
        stop = Stop()
        block = Block(leaving=stop)

        async def request():
            async with entered(block):
                pass

        async def cancel():
            task = asyncio.ensure_future(request())
            await stop.wait()
            for _ in range(3):
                task.cancel()
                await asyncio.sleep(0)
            stop.released.set()
            return await task

        assert isinstance(result_of(cancel), asyncio.CancelledError)
        assert block.history == ["entered", None]

    def test_block_whose_own_work_is_cancelled(self):
        def entering():
            raise asyncio.CancelledError

        async def request():
            async with entered(Block(entering=entering)):
                pass

        assert isinstance(result_of(request), asyncio.CancelledError)
