"""A proxy before the database that knows a COMMIT when it sees one, and cuts the connection there.

It understands as much of both protocols as that takes. PostgreSQL: messages of a type (one byte, but for the first
message) and a length that counts itself; Q is a query; the server ends every answer with Z. MariaDB: packets of a
length (three bytes), a number and a command; 3 is a query; one packet answers a COMMIT.
"""

import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Literal

from django.db import connections

# Let it pass; do not hand it on; hand it on and wait for nothing; keep what the server answers.
Cut = Literal["", "before", "during", "after"]
Plan = Callable[[], Cut]
READY_FOR_QUERY = b"Z\x00\x00\x00\x05"


@dataclass(slots=True)
class Messages:
    """Cut a stream from a client into messages."""

    vendor: str
    buffer: bytearray = field(default_factory=bytearray)
    started: bool = False

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Yield the messages that *data* completes."""
        self.buffer += data
        while (length := self._length()) and len(self.buffer) >= length:
            message = bytes(self.buffer[:length])
            del self.buffer[:length]
            self.started = True
            yield message

    def commits(self, message: bytes) -> bool:
        """Tell whether *message* asks for a COMMIT; on PostgreSQL, other statements may come before it."""
        query = message[5:].removesuffix(b"\x00")
        return message[:1] == b"Q" and query.endswith(b"COMMIT") if self.vendor == "postgresql" else query == b"COMMIT"

    def _length(self) -> int:
        """Return how long the next message is, type and length included; 0 if that is not known yet."""
        if self.vendor == "mysql":
            return 4 + int.from_bytes(self.buffer[:3], "little") if len(self.buffer) >= 4 else 0
        start = int(self.started)
        if len(self.buffer) < start + 4:
            return 0
        return int(start + struct.unpack_from(">I", self.buffer, start)[0])


@dataclass(slots=True, kw_only=True)
class Proxy:
    """A proxy at a port of its own; *plan* is asked at each COMMIT."""

    listener: socket.socket
    vendor: str
    plan: Plan = lambda: ""
    cuts: list[Cut] = field(default_factory=list)

    @property
    def settings(self) -> dict[str, Any]:
        """Return what leads Django through the proxy; it cannot read what is encrypted."""
        plain = {"sslmode": "disable", "gssencmode": "disable"} if self.vendor == "postgresql" else {}
        host, port = self.listener.getsockname()
        return {"HOST": host, "PORT": port, "OPTIONS": plain}

    def cut_next(self, cut: Cut) -> None:
        """Cut the next COMMIT, and none after it."""
        planned = [cut]
        self.plan = lambda: planned.pop() if planned else ""

    def serve(self) -> None:
        """Take connections until the listener is closed."""
        with suppress(OSError):
            while True:
                client, _ = self.listener.accept()
                threading.Thread(target=self._relay, args=[client], daemon=True).start()

    def _relay(self, client: socket.socket) -> None:
        """Hand on what both sides say, in turn or not, until one of them is gone or the connection is cut."""
        server = connect(self.vendor)
        silenced = threading.Event()
        answers = threading.Thread(target=self._answer, args=[server, client, silenced], daemon=True)
        answers.start()
        messages = Messages(self.vendor)
        with suppress(OSError):
            while data := client.recv(65536):
                for message in messages.feed(data):
                    cut = self.plan() if messages.commits(message) else ""
                    if cut:
                        self.cuts.append(cut)
                    if cut == "after":
                        silenced.set()
                    if cut != "before":
                        server.sendall(message)
                    if cut in {"before", "during"}:
                        return reset(client, server)
        if not silenced.is_set():
            reset(client, server)
        return None

    def _answer(self, server: socket.socket, client: socket.socket, silenced: threading.Event) -> None:
        kept = b""
        with suppress(OSError):
            while data := server.recv(65536):
                if silenced.is_set():
                    kept += data
                    if self.vendor == "mysql" or READY_FOR_QUERY in kept:
                        break
                else:
                    client.sendall(data)
        reset(client, server)


@contextmanager
def proxy(vendor: str) -> Iterator[Proxy]:
    """Run a proxy before the test database."""
    with socket.create_server(("127.0.0.1", 0), backlog=64) as listener:
        proxy = Proxy(listener=listener, vendor=vendor)
        thread = threading.Thread(target=proxy.serve, daemon=True)
        thread.start()
        try:
            yield proxy
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()


def connect(vendor: str) -> socket.socket:
    """Connect to the server of the test database."""
    settings = connections.settings["default"]
    host = settings["HOST"] or settings["OPTIONS"].get("host", "127.0.0.1")
    port = int(settings["PORT"] or (5432 if vendor == "postgresql" else 3306))
    if host.startswith("/"):
        connection = socket.socket(socket.AF_UNIX)
        connection.connect(f"{host}/.s.PGSQL.{port}")
        return connection
    return socket.create_connection((host, port))


def reset(*sides: socket.socket) -> None:
    """End connections as when the cable is cut."""
    for side in sides:
        with suppress(OSError):
            side.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            side.shutdown(socket.SHUT_RDWR)
        side.close()
