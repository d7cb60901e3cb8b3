"""Clients that lose answers: they hang up, are cut off, send half a request, read half an answer; and send again."""

import json
import random
import socket
import struct
import time
from dataclasses import dataclass
from http.client import HTTPException, HTTPResponse

from tests.faults.model import Attempt, Order
from tests.gate import TIMEOUT

LOSSES = ("hang up", "reset", "half a request", "half an answer")


@dataclass(frozen=True, slots=True, kw_only=True)
class Client:
    """One that speaks to a server, by hand."""

    address: tuple[str, int]
    dice: random.Random

    def send(
        self,
        order: Order,
        path: str,
        *,
        fault: str = "",
        gate: str = "",
        lossy: bool = False,
        altered: bool = False,
    ) -> Attempt:
        """Send *order* once, and tell what came back; *fault* and *gate* are headers that the view obeys."""
        loss = self.dice.choice(LOSSES) if lossy else ""
        sent = time.monotonic()
        try:
            with socket.create_connection(self.address, timeout=TIMEOUT) as connection:
                request = self._request(order, path, fault=fault, gate=gate, altered=altered)
                connection.sendall(request[:-9] if loss == "half a request" else request)
                if not loss:
                    return self._receive(connection, order, sent, altered=altered)
                if loss == "half an answer":
                    connection.recv(self.dice.randrange(1, 40))
                if loss == "reset":
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        except (OSError, HTTPException, ValueError):
            pass  # The worker died: nothing came back, or only a part of it.
        return Attempt(order=order.name, sent=sent, ended=time.monotonic(), altered=altered)

    def _request(self, order: Order, path: str, *, fault: str, gate: str, altered: bool) -> bytes:
        fields = {"name": order.name, "payer": order.payer, "payee": order.payee, "amount": order.amount}
        if altered:
            fields |= {"name": f"{order.name}!", "amount": order.amount + 1}
        body = json.dumps(fields).encode()
        head = (
            f"POST {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: application/json\r\n"
            f'Idempotency-Key: "{order.key}"\r\nX-User: {order.user}\r\nX-Fault: {fault}\r\nX-Gate: {gate}\r\n'
            f"Content-Length: {len(body)}\r\n\r\n"
        )
        return head.encode() + body

    def _receive(self, connection: socket.socket, order: Order, sent: float, *, altered: bool) -> Attempt:
        with HTTPResponse(connection) as response:
            response.begin()
            body = response.read().decode()
        return Attempt(
            order=order.name,
            sent=sent,
            ended=time.monotonic(),
            status=response.status,
            body=body,
            replayed=response.headers.get("Idempotent-Replayed") == "true",
            retry_after="Retry-After" in response.headers,
            altered=altered,
        )
