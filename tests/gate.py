"""Stop a view, in whatever process it runs, at a place that the test knows; without a sleep.

The test makes a `Gate` and names its path to the view. The view calls `pass_gate(path)`: that
announces it and blocks until the test opens the gate. `Gate.wait()` returns once a view stands
there. The view's end of the socket dies with its process, so a killed visitor is seen, too.
"""

import json
import os
import shutil
import socket
import tempfile
import threading
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

# Seconds after which a test holds that what it waits for will never come. Only what hangs takes so long, so it is much
# longer than all that must happen meanwhile can take, processes that start included, on a machine that is busy.
TIMEOUT = 180.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Visitor:
    """A view that stands at the gate."""

    pid: int
    thread: int
    connection: socket.socket

    def open(self) -> None:
        """Let this visitor go on, alone."""
        self.connection.close()

    def wait_gone(self) -> None:
        """Return once the process that stood here is dead, or raise TimeoutError."""
        self.connection.settimeout(TIMEOUT)
        if self.connection.recv(1):
            message = f"process {self.pid} speaks"
            raise RuntimeError(message)


class Gate:
    """A place where views stop until the test lets them go on.

    Leaving the `with` block opens it.
    """

    def __init__(self) -> None:
        # A socket's path has room for some 100 characters: pytest's tmp_path may be longer.
        self.directory = tempfile.mkdtemp(prefix="gate-")
        self.path = str(Path(self.directory) / "s")
        self.visitors: deque[Visitor] = deque()
        self.lock = threading.Lock()
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(self.path)
        self.listener.listen(128)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.open()

    def wait(self, *, timeout: float = TIMEOUT) -> Visitor:
        """Return the next view to arrive, or raise TimeoutError after *timeout* seconds."""
        self.listener.settimeout(timeout)
        connection, _ = self.listener.accept()
        connection.settimeout(TIMEOUT)
        with connection.makefile("rb") as file:
            visitor = Visitor(connection=connection, **json.loads(file.readline()))
        with self.lock:
            self.visitors.append(visitor)
        return visitor

    def open(self) -> None:
        """Let all views go on that stand here, and all that will come."""
        # Unlinked first, so that a view either finds no gate, or waits in the queue of the
        # listener, whose closing lets it go on.
        shutil.rmtree(self.directory, ignore_errors=True)
        self.listener.close()
        with self.lock:
            while self.visitors:
                self.visitors.popleft().open()


def pass_gate(path: str) -> None:
    """Announce this thread at the gate at *path*, and return when it is opened."""
    with socket.socket(socket.AF_UNIX) as connection:
        try:
            connection.connect(path)
            arrival = {"pid": os.getpid(), "thread": threading.get_ident()}
            connection.sendall(json.dumps(arrival).encode() + b"\n")
            connection.recv(1)
        except (FileNotFoundError, ConnectionError):
            return  # It has been opened for good.
