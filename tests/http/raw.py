"""HTTP by hand: what a client library would not send, and clients that hang up."""

import json
import socket
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from http.client import HTTPMessage, HTTPResponse
from typing import Any

from tests.gate import TIMEOUT
from tests.server import Server


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What the server said."""

    status: int
    headers: HTTPMessage
    body: bytes

    @property
    def code(self) -> str | None:
        """Return the error code in the body of a problem."""
        return str(json.loads(self.body)["code"]) if self.headers.get_content_subtype() == "problem+json" else None


def send(
    server: Server,
    path: str,
    *lines: bytes,
    script: Sequence[Sequence[Any]] = (),
    body: bytes = b"",
    length: int | None = None,
) -> socket.socket:
    """Send a POST with these header *lines* as they are, and return the connection without reading from it.

    With *length*, announce a body of that size, and end after *body*, which may be a part of it.
    """
    head = [
        b"POST %b HTTP/1.1" % path.encode(),
        b"Host: %b" % server.host.encode(),
        b"Connection: close",
        b"Content-Length: %d" % (len(body) if length is None else length),
        b"X-Script: %b" % json.dumps(script).encode(),
        *lines,
    ]
    connection = socket.create_connection((server.host, server.port), timeout=TIMEOUT)
    connection.sendall(b"\r\n".join(head) + b"\r\n\r\n" + body)
    if length is not None:
        connection.shutdown(socket.SHUT_WR)
    return connection


def receive(connection: socket.socket) -> Answer:
    """Read the answer, and close the connection."""
    with connection, HTTPResponse(connection) as response:
        response.begin()
        return Answer(status=response.status, headers=response.headers, body=response.read())


def exchange(server: Server, path: str, *lines: bytes, **options: Any) -> Answer:
    """Send a POST, and return its answer; the arguments are those of `send`."""
    return receive(send(server, path, *lines, **options))


def hang_up(connection: socket.socket, *, abruptly: bool = False) -> None:
    """Close the connection without reading from it: in good order, or as when the cable is cut (RST)."""
    if abruptly:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()
