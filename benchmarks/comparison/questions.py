"""What every package is asked, over HTTP; effects are counted in the database."""

from __future__ import annotations

import http.client
import json
import threading
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

from benchmarks.project.models import Payment
from benchmarks.server import Server

AT_ONCE: Final = 16
TRIES: Final = 8
# Longer than each of the packages holds a key of a worker that has died: see the settings.
LATER: Final = 65


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """`status` is 0 if there was none."""

    status: int
    body: bytes = b""
    headers: dict[str, str]

    def __str__(self) -> str:
        return str(self.status or "no answer")


@dataclass(frozen=True, slots=True)
class Client:
    server: Server

    def send(self, key: str, reference: str, then: str = "", *, user: int = 1, boundary: str = "") -> Answer:
        """Send one request, in JSON, or as a form whose parts are divided by *boundary*."""
        headers = {"Idempotency-Key": key, "X-User": str(user), "Content-Type": "application/json"}
        body = json.dumps({"reference": reference, "then": then})
        if boundary:
            headers["Content-Type"] = f"multipart/form-data; boundary={boundary}"
            disposition = 'Content-Disposition: form-data; name="reference"'
            body = f"--{boundary}\r\n{disposition}\r\n\r\n{reference}\r\n--{boundary}--\r\n"
        connection = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=60)
        try:
            connection.request("POST", self.server.side.path, body, headers)
            response = connection.getresponse()
            return Answer(status=response.status, body=response.read(), headers=dict(response.getheaders()))
        except (http.client.HTTPException, ConnectionError):
            return Answer(status=0, headers={})
        finally:
            connection.close()


def ask(server: Server) -> dict[str, str]:
    """Return what came of each question."""
    client = Client(server)
    first = client.send(fresh(), fresh())
    assert first.status == 201, f"{server.side.name} answered {first}: {first.body!r}"
    at_once(client, "wait")  # Each process has loaded what it needs, and has a connection.
    return {
        "a retry": retried(client),
        "effects of 16 at once": ", ".join(str(at_once(client, "wait")) for _ in range(TRIES)),
        "worker killed, then a retry": after_death(client),
        "handler raises, then a retry": after(client, "fail"),
        "another user's retry": by_another(client),
        "retry with a new boundary": with_new_boundary(client),
        "headers of a replay": headers(client),
        "statements: first, retry": statements(client),
    }


def retried(client: Client) -> str:
    return after(client, "")


def after(client: Client, then: str) -> str:
    key, reference = fresh(), fresh()
    first = client.send(key, reference, then)
    retry = client.send(key, reference, then)
    return told(first, retry, reference)


def after_death(client: Client) -> str:
    key, reference = fresh(), fresh()
    first = client.send(key, reference, "die")
    retry = client.send(key, reference, "die")
    text = told(first, retry, reference)
    if retry.status == 201:
        return text
    time.sleep(LATER)
    return f"{text}; {LATER} s later {told(first, client.send(key, reference, 'die'), reference)}"


def at_once(client: Client, then: str) -> int:
    key, reference = fresh(), fresh()
    barrier = threading.Barrier(AT_ONCE)

    def send() -> None:
        barrier.wait()
        client.send(key, reference, then)

    with ThreadPoolExecutor(AT_ONCE) as pool:
        for sent in [pool.submit(send) for _ in range(AT_ONCE)]:
            sent.result()
    return effects(reference)


def by_another(client: Client) -> str:
    key, reference = fresh(), fresh()
    first = client.send(key, reference)
    return told(first, client.send(key, reference, user=2), reference)


def with_new_boundary(client: Client) -> str:
    key, reference = fresh(), fresh()
    first = client.send(key, reference, boundary="first")
    return told(first, client.send(key, reference, boundary="second"), reference)


def headers(client: Client) -> str:
    key, reference = fresh(), fresh()
    client.send(key, reference)
    retry = client.send(key, reference)
    return ", ".join(name for name in ("Location", "X-Own", "Set-Cookie") if name in retry.headers) or "none"


def statements(client: Client) -> str:
    """Count those that the handler does not run itself."""
    key, reference = fresh(), fresh()
    first, retry = (int(client.send(key, reference).headers["X-Statements"]) for _ in range(2))
    return f"{first - 1}, {retry}" if effects(reference) == 1 else f"{first - 1}, {retry - 1}"


def told(first: Answer, retry: Answer, reference: str) -> str:
    same = " with the first body" if retry.body and retry.body == first.body else ""
    return f"{first}, then {retry}{same}; effects: {effects(reference)}"


def effects(reference: str) -> int:
    return Payment.objects.filter(reference=reference).count()


def fresh() -> str:
    return str(uuid.uuid4())
