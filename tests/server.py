"""A real web server, several processes, on the test databases of the engine under test."""

import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil
from django.db import connections

from tests.gate import TIMEOUT, Gate

ROOT = Path(__file__).parent.parent

GUNICORN = (
    *("gunicorn", "tests.wsgi", "--bind=fd://{fd}", "--worker-class=gthread"),
    # A worker takes no more connections than it has threads: else it may take all of them, and
    # those that it cannot serve yet wait behind a gate, with the other worker at rest.
    *("--workers=2", "--threads=8", "--worker-connections=8", "--keep-alive=0"),
    # A worker that is killed has a successor at once: a copy of a process that has loaded Django.
    *("--preload", "--graceful-timeout=5", f"--timeout={TIMEOUT:.0f}", "--no-control-socket"),
)
UVICORN = (
    *("uvicorn", "tests.asgi:application", "--fd={fd}", "--workers=2", "--lifespan=off"),
    *("--log-level=warning", "--timeout-graceful-shutdown=5", f"--timeout-worker-healthcheck={TIMEOUT:.0f}"),
)


@dataclass(slots=True, kw_only=True)
class Server:
    """What a test knows of the server, and how it speaks to it."""

    master: psutil.Process
    host: str
    port: int
    log: Path
    requests_lock: Path
    client: httpx.Client
    gates: list[Gate] = field(default_factory=list)

    @property
    def base_url(self) -> str:
        return f"http://{self.host}:{self.port}"

    @property
    def worker_pids(self) -> set[int]:
        """Return the numbers of the worker processes that live now."""
        return {process.pid for process in self.master.children()}

    def request(
        self,
        method: str,
        path: str,
        *,
        key: str | None = None,
        script: Sequence[Sequence[Any]] = (),
        user: str | None = None,
        **options: Any,
    ) -> httpx.Response:
        """Send one request on a connection of its own; callable from any thread.

        *user* authenticates with the password that the factories give everybody.
        """
        headers = dict(options.pop("headers", {}))
        if script:
            headers["X-Script"] = json.dumps(script)
        if key is not None:
            headers["Idempotency-Key"] = key
        if user is not None:
            options["auth"] = (user, "password")
        return self.client.request(method, path, headers=headers, **options)

    def post(self, path: str, **options: Any) -> httpx.Response:
        """Send a POST; the arguments are those of `request`."""
        return self.request("POST", path, **options)

    def gate(self) -> Gate:
        """Return a new gate, which is opened at the latest when the test ends."""
        gate = Gate()
        self.gates.append(gate)
        return gate

    def kill_worker(self, pid: int) -> None:
        """End a worker with SIGKILL; the server starts another one in its place."""
        worker = psutil.Process(pid)
        worker.send_signal(signal.SIGKILL)
        psutil.wait_procs([worker], timeout=TIMEOUT)

    def wait_idle(self) -> None:
        """Return once no request is being answered, or raise TimeoutError."""
        deadline = time.monotonic() + TIMEOUT
        with self.requests_lock.open("rb") as lock:
            while True:
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    if time.monotonic() > deadline:
                        message = "a request is still being answered"
                        raise TimeoutError(message) from None
                    time.sleep(0.005)
                else:
                    return

    def settle(self) -> None:
        """Open all gates and wait for the views behind them."""
        while self.gates:
            self.gates.pop().open()
        self.wait_idle()


@contextmanager
def running(command: Sequence[str]) -> Iterator[Server]:
    """Run the server that *command* starts, on a free port, and stop it afterwards."""
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="idempotency-server-")))
        requests_lock = directory / "requests"
        requests_lock.touch()
        log = directory / "log"
        # The socket listens before the server lives: no port to guess, nobody to wait for.
        with socket.create_server(("127.0.0.1", 0), backlog=256) as listener:
            host, port = listener.getsockname()
            arguments = [part.format(fd=listener.fileno()) for part in command]
            process = subprocess.Popen(
                [sys.executable, "-m", *arguments],
                cwd=ROOT,
                env=environment(requests_lock),
                pass_fds=[listener.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=stack.enter_context(log.open("ab")),
                stderr=subprocess.STDOUT,
            )
        stack.callback(stop, process)
        client = stack.enter_context(
            httpx.Client(
                base_url=f"http://{host}:{port}",
                # No connection is used again: one to a worker that has been killed is of no use.
                limits=httpx.Limits(max_keepalive_connections=0),
                timeout=TIMEOUT,
                trust_env=False,
            )
        )
        server = Server(
            master=psutil.Process(process.pid),
            host=host,
            port=port,
            log=log,
            requests_lock=requests_lock,
            client=client,
        )
        try:
            client.get("/process/").raise_for_status()
        except httpx.HTTPError as exc:
            message = f"the server does not answer:\n{log.read_text()}"
            raise RuntimeError(message) from exc
        yield server


def environment(requests_lock: Path) -> dict[str, str]:
    """Return the environment that leads a server to this process' test databases."""
    names = {alias: str(connections[alias].settings_dict["NAME"]) for alias in connections}
    return {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "tests.settings",
        "TEST_DATABASES": json.dumps(names),
        "REQUESTS_LOCK": str(requests_lock),
        "PYTHONUNBUFFERED": "1",
    }


def stop(process: subprocess.Popen[bytes]) -> None:
    """End the server in good order, else by force, its workers included."""
    family = [*psutil.Process(process.pid).children(recursive=True)]
    process.terminate()
    try:
        process.wait(timeout=TIMEOUT)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    for survivor in psutil.wait_procs(family, timeout=1)[1]:
        survivor.kill()
