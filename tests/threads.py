"""Run things at the same time, in real threads."""

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier, BrokenBarrierError
from typing import TypeVar

from django.db import connections

from tests.gate import TIMEOUT

T = TypeVar("T")


def together(functions: Iterable[Callable[[], T]]) -> list[T]:
    """Call all *functions* at once, each in its own thread; return what they return, in order.

    A barrier lets all start at the same moment. Raises what the first of them raised: where they meet at barriers of
    their own, the one that stays away is the cause, and that the others waited in vain is not.
    """
    functions = list(functions)
    barrier = Barrier(len(functions), timeout=TIMEOUT)

    def call(function: Callable[[], T]) -> T:
        try:
            barrier.wait()
            return function()
        finally:
            connections.close_all()

    with ThreadPoolExecutor(len(functions)) as executor:
        futures = [executor.submit(call, function) for function in functions]
    errors = [error for future in futures if (error := future.exception())]
    if errors:
        raise next((error for error in errors if not isinstance(error, BrokenBarrierError)), errors[0])
    return [future.result() for future in futures]
