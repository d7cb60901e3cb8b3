"""A line between a client and the server that loses requests and answers, as the test wants it."""

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx

from tests.gate import TIMEOUT
from tests.server import Server

# What can happen to a request. A dict is an answer that a proxy gives in place of the server: {"status": 503}. A
# callable is called while the server has the request; the client hears no more once it returns.
PASS = "pass"
LOST_REQUEST = "lost request"
LOST_ANSWER = "lost answer"
Fate = str | Mapping[str, Any] | Callable[[], object]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """What arrived on the line."""

    key: str | None
    body: bytes


@dataclass(slots=True, kw_only=True)
class Line:
    """What a test knows of the line. Requests to any path reach the view *path*, with *script*."""

    server: Server
    path: str
    script: Sequence[Sequence[Any]]
    fates: deque[Fate]
    url: str = ""
    sent: list[Sent] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)
    in_progress: threading.Event = field(default_factory=threading.Event)

    @property
    def keys(self) -> list[str | None]:
        """Return the key of each attempt, in order."""
        return [sent.key for sent in self.sent]

    def wait_in_progress(self) -> None:
        """Return once a client has been told that the first request is in progress, or raise TimeoutError."""
        if not self.in_progress.wait(TIMEOUT):
            raise TimeoutError("no request was told that the first one is in progress")

    def forward(self, method: str, body: bytes, headers: Mapping[str, str]) -> httpx.Response:
        """Send a request on to the server."""
        kept = {name: value for name, value in headers.items() if name in {"content-type", "idempotency-key"}}
        answer = self.server.request(method, self.path, content=body, headers=kept, script=self.script)
        self.statuses.append(answer.status_code)
        if answer.status_code == httpx.codes.CONFLICT:
            self.in_progress.set()
        return answer


class Handler(BaseHTTPRequestHandler):
    """Let one request meet its fate."""

    protocol_version = "HTTP/1.1"
    server: "Exchange"

    def do_POST(self) -> None:
        line = self.server.line
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        headers = {name.lower(): value for name, value in self.headers.items()}
        line.sent.append(Sent(key=headers.get("idempotency-key"), body=body))
        fate = line.fates.popleft() if line.fates else PASS
        self.close_connection = True
        if isinstance(fate, Mapping):
            self.answer(fate["status"], fate.get("headers", {}), b"{}")
        elif callable(fate):
            self.server.run(lambda: line.forward("POST", body, headers))
            fate()
        elif fate != LOST_REQUEST:
            reply = line.forward("POST", body, headers)
            if fate == PASS:
                self.answer(reply.status_code, reply.headers, reply.content)

    def answer(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        """Send an answer to the client."""
        self.send_response(status)
        for name in ("content-type", "retry-after", "idempotent-replayed"):
            if name in headers:
                self.send_header(name, headers[name])
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - its name there
        """Write nothing."""


class Exchange(ThreadingHTTPServer):
    """The line's end that clients reach, in threads of its own while the block runs."""

    daemon_threads = False

    def __init__(self, line: Line) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.line = line
        self.threads: list[threading.Thread] = []

    def run(self, call: Callable[[], object]) -> None:
        """Do *call* on a thread, which is waited for when the block ends."""
        self.threads.append(threading.Thread(target=call))
        self.threads[-1].start()

    @contextmanager
    def open(self) -> Iterator[None]:
        """Serve while the block runs."""
        self.run(partial(self.serve_forever, poll_interval=0.01))
        try:
            yield
        finally:
            self.shutdown()
            self.server_close()
            for thread in self.threads:
                thread.join(TIMEOUT)


@contextmanager
def lossy(
    server: Server,
    *fates: Fate,
    path: str = "/keyed/",
    script: Iterable[Sequence[Any]] = (("effect", "charged"),),
) -> Iterator[Line]:
    """Yield a line on which the first requests meet *fates*, one each, and all others pass."""
    line = Line(server=server, path=path, script=list(script), fates=deque(fates))
    exchange = Exchange(line)
    line.url = f"http://127.0.0.1:{exchange.server_address[1]}"
    with exchange.open():
        yield line
