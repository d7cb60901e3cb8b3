"""End a process at a place of its run that the test chooses: a line, a statement, a call over the network.

A first run, to its end, tells the places. In another run, the fuse burns at one of them.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection
from pathlib import Path
from types import FrameType
from typing import Any
from unittest import mock

from django.db import connection

from example_project import shop

ENDS = {"kill": signal.SIGKILL, "stop": signal.SIGSTOP}
LOCKED = "locked: "
SHOP = str(Path(shop.__file__).parent)


@dataclass(slots=True, kw_only=True)
class Fuse:
    """Count the places that this thread passes; at place number *at*, tell, and get the signal for *end*.

    Places where the thread has locked something, since it has executed a statement of a transaction that is open, are
    told apart: a process that stands still there keeps the lock.
    """

    tell: Callable[[str], None]
    at: int | None = None
    end: str = "kill"
    places: list[str] = field(default_factory=list)
    locked: bool = False

    def reach(self, place: str) -> None:
        """Pass a place, or end there."""
        self.places.append(f"{LOCKED if self.locked else ''}{place}")
        if len(self.places) - 1 == self.at:
            self.tell(self.places[-1])
            os.kill(os.getpid(), ENDS[self.end])

    def around(self, function: Callable[..., Any], name: str, **change: bool) -> Callable[..., Any]:
        """Make places of before and after *function*, which may *change* whether something is locked."""
        owner = threading.get_ident()

        def wrapped(*args: Any, **kwargs: Any) -> Any:
            if threading.get_ident() != owner:  # A thread that runs beside has no places: nobody could find them again.
                return function(*args, **kwargs)
            self.reach(f"before {name}")
            try:
                return function(*args, **kwargs)
            finally:
                self.locked = change.get("locked", self.locked)
                self.reach(f"after {name}")

        return wrapped

    def around_statement(self, execute: Callable[..., Any], sql: str, params: Any, many: bool, context: Any) -> Any:
        """Make places of before and after a statement."""
        begins = not connection.autocommit or sql.startswith("BEGIN")
        name = " ".join(sql.split())[:50]
        return self.around(execute, name, locked=self.locked or begins)(sql, params, many, context)

    def trace(self, frame: FrameType, event: str, argument: Any) -> Any:
        """Make a place of each line of the shop's."""
        if not frame.f_code.co_filename.startswith(SHOP):
            return None
        if event == "line":
            place = f"{Path(frame.f_code.co_filename).name}:{frame.f_lineno}"
            if not self.places or not self.places[-1].endswith(place):  # A generator passes its line many times.
                self.reach(place)
        return self.trace


@contextmanager
def armed(fuse: Fuse) -> Iterator[None]:
    """Let *fuse* see all that this thread does inside of the block."""
    with ExitStack() as stack:
        for target, name, change in CALLS:
            stack.enter_context(mock.patch.object(target, name, fuse.around(getattr(target, name), name, **change)))
        stack.enter_context(connection.execute_wrapper(fuse.around_statement))
        sys.settrace(fuse.trace)
        try:
            yield
        finally:
            sys.settrace(None)


CALLS: Sequence[tuple[Any, str, dict[str, bool]]] = (
    (HTTPConnection, "connect", {}),
    (HTTPConnection, "send", {}),
    (HTTPConnection, "getresponse", {}),
    # What begins and ends a transaction is no statement to Django.
    (connection, "set_autocommit", {}),
    (connection, "commit", {"locked": False}),
    (connection, "rollback", {"locked": False}),
)
