"""Threads that wait for each other before and after each statement, as far as locks let them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.signals import connection_created

# After how many seconds in the database a thread is taken to wait for a lock; and how long the others wait for it at
# most, wherever it is.
_BLOCKED: Final = 0.25
_TIMEOUT: Final = 10.0


class Lockstep:
    """Let *n* threads go on together: none begins its next statement before all have ended the last one.

    Once a thread waits for a lock, or is done, all go on freely: the one that it waits for must not wait for it.
    """

    def __init__(self, n: int, *, timeout: float = _TIMEOUT) -> None:
        self._timeout = timeout
        self._condition = threading.Condition(threading.RLock())
        self._is_free = False
        self._turn = 0
        self._on_their_way = n
        self._waiting = 0
        # Who is in the database, since when.
        self._busy: dict[int, float] = {}

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Keep the connections in step that threads make while the block runs."""
        connection_created.connect(self._join)
        try:
            yield
        finally:
            connection_created.disconnect(self._join)

    def release(self) -> None:
        """Let all go on freely: one is done."""
        with self._condition:
            self._is_free = True
            self._condition.notify_all()

    def _join(self, connection: BaseDatabaseWrapper, **kwargs: Any) -> None:  # noqa: ARG002 - a receiver's
        if self._execute not in connection.execute_wrappers:
            connection.execute_wrappers.append(self._execute)

    def _execute(self, execute: Callable[..., Any], sql: str, params: Any, many: bool, context: dict[str, Any]) -> Any:
        self._wait()
        thread = threading.get_ident()
        with self._condition:
            self._on_their_way -= 1
            self._busy[thread] = time.monotonic()
        try:
            return execute(sql, params, many, context)
        finally:
            with self._condition:
                self._on_their_way += 1
                del self._busy[thread]
            self._wait()

    def _wait(self) -> None:
        deadline = time.monotonic() + self._timeout
        with self._condition:
            turn = self._turn
            self._on_their_way -= 1
            self._waiting += 1
            while turn == self._turn and not self._is_free:
                if not self._on_their_way and self._is_nobody_working():
                    self._turn += 1
                    self._on_their_way, self._waiting = self._waiting, 0
                    self._condition.notify_all()
                elif time.monotonic() > deadline:
                    self.release()
                else:
                    self._condition.wait(0.01)

    def _is_nobody_working(self) -> bool:
        now = time.monotonic()
        if any(now - since < _BLOCKED for since in self._busy.values()):
            return False
        self._is_free = bool(self._busy)
        return True
