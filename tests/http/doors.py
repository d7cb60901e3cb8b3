"""The doors of the package, each on a server: what a client sees of them is the same."""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from django_idempotency.models import IdempotencyKey
from tests.app.models import Effect
from tests.gate import TIMEOUT, Gate, Visitor
from tests.server import Server

Script = Sequence[Sequence[Any]]

# The fixture of each door's server, and the address there.
DOORS = {
    "plain": ("gunicorn", "/http/plain/"),
    "class": ("gunicorn", "/http/class/"),
    "api-view": ("gunicorn", "/http/api-view/"),
    "method": ("gunicorn", "/http/method/"),
    "action": ("gunicorn", "/http/action/"),
    "mixin": ("gunicorn", "/http/mixin/"),
    "async": ("uvicorn", "/http/async/"),
    # The same where nothing around them is synchronous, on the server that is not theirs, and in ATOMIC_REQUESTS.
    "async-bare": ("bare_uvicorn", "/http/async/"),
    "async-on-wsgi": ("gunicorn", "/http/async/"),
    "plain-on-asgi": ("uvicorn", "/http/plain/"),
    "mixin-on-asgi": ("uvicorn", "/http/mixin/"),
    "atomic-plain": ("atomic_gunicorn", "/http/plain/"),
    "atomic-mixin": ("atomic_gunicorn", "/http/mixin/"),
}
ADDRESSES = {
    **DOORS,
    "plain-wait": ("gunicorn", "/http/plain-wait/"),
    "mixin-wait": ("gunicorn", "/http/mixin-wait/"),
    "async-wait": ("uvicorn", "/http/async-wait/"),
    "plain-short-wait": ("gunicorn", "/http/plain-short-wait/"),
    "plain-required": ("gunicorn", "/http/plain-required/"),
    "mixin-required": ("gunicorn", "/http/mixin-required/"),
    "plain-staff": ("gunicorn", "/http/plain-staff/"),
    "mixin-staff": ("gunicorn", "/http/mixin-staff/"),
    "api-view-staff": ("gunicorn", "/http/api-view-staff/"),
}
# InnoDB waits for a lock for 50 seconds, and what is answered then is what is to be answered at once.
BEFORE_INNODB_GIVES_UP = 40.0
EACH = ("plain", "class", "api-view", "method", "action", "mixin", "async")


@dataclass(frozen=True, slots=True, kw_only=True)
class Door:
    """A view with keys, and how a client speaks to it."""

    server: Server
    path: str

    def request(self, method: str, key: str | None = "key", *, number: int = 1, **options: Any) -> httpx.Response:
        """Send one request to the view, with the number in its path; the other arguments are the server's."""
        return self.server.request(method, self.path_of(number), key=key, **options)

    def post(self, key: str | None = "key", **options: Any) -> httpx.Response:
        """Send one POST; the arguments are those of `request`."""
        return self.request("POST", key, **options)

    def insist(self, key: str = "key", **options: Any) -> httpx.Response:
        """Send a POST again, without any pause, as long as the first request is in progress."""
        return insist(lambda: self.post(key, **options))

    def path_of(self, number: int) -> str:
        """Return the address of the operation with this number."""
        return f"{self.path}{number}/"

    @contextmanager
    def held(self, before: Script = (), after: Script = (), **options: Any) -> Iterator["Held"]:
        """Keep a POST in its handler, between the steps *before* and *after*, until the block is left."""
        gate = self.server.gate()
        script = [*before, ["gate", gate.path], *after]
        with ThreadPoolExecutor(1) as executor:
            answer = executor.submit(self.post, script=script, **options)
            try:
                yield Held(gate=gate, visitor=gate.wait(), answer=answer)
            finally:
                gate.open()


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """A request whose handler stands at a gate."""

    gate: Gate
    visitor: Visitor
    answer: Future[httpx.Response]

    def release(self) -> httpx.Response:
        """Let the handler go on, and return its answer."""
        self.gate.open()
        return self.answer.result()


def doors(*names: str) -> pytest.MarkDecorator:
    """Run a test, which asks for `door`, at each of these doors."""
    return pytest.mark.parametrize("door", names, indirect=True)


def insist(send: Callable[[], httpx.Response]) -> httpx.Response:
    """Call *send* again, without any pause, as long as it is told that the first request is in progress."""
    deadline = time.monotonic() + TIMEOUT
    while True:
        response = send()
        if not is_in_progress(response) or time.monotonic() > deadline:
            return response


def is_in_progress(response: httpx.Response) -> bool:
    """Tell whether the answer asks to come again since the first request is in progress."""
    return response.status_code == 409 and "Retry-After" in response.headers


def is_replay(response: httpx.Response) -> bool:
    """Tell whether the answer says that it is one that was given before."""
    return bool(response.headers.get("Idempotent-Replayed") == "true")


def effects() -> list[str]:
    """Return the labels of what happened and was committed; sorted here, since databases differ in it."""
    return sorted(Effect.objects.values_list("label", flat=True))


def keys() -> int:
    """Return how many keys are remembered."""
    return IdempotencyKey.objects.count()


def same_answer(responses: Iterable[httpx.Response]) -> bool:
    """Tell whether all are one answer: status, body, and the headers that describe them."""
    return len({(r.status_code, r.content, r.headers.get("Content-Type")) for r in responses}) == 1
