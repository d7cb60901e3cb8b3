"""A real server: gunicorn with several processes, on this machine only."""

import http.client
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from django.conf import settings

HOST = "127.0.0.1"
PATIENCE = 120  # seconds: the machine may have more to do


class ServerError(Exception):
    """The server does not start."""


class Server:
    """Serves the example project while the block runs."""

    def __init__(self, *, port: int, workers: int, directory: Path) -> None:
        self.port = port
        self.workers = workers
        self.directory = directory
        self.log = directory / "server.log"

    @property
    def url(self) -> str:
        """Where it answers."""
        return f"http://{HOST}:{self.port}"

    def __enter__(self) -> Self:
        self.refuse_port_in_use()
        metrics = self.directory / "metrics"
        metrics.mkdir(exist_ok=True)
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(  # noqa: S603  # every argument is ours
                [
                    *(sys.executable, "-m", "gunicorn"),
                    *("--config", "python:example_project.demo.gunicorn"),
                    *("--chdir", str(settings.BASE_DIR)),
                    *("--bind", f"{HOST}:{self.port}"),
                    *("--workers", str(self.workers)),
                ],
                env={
                    **os.environ,
                    "DEMO_CRASH_DIRECTORY": str(self.directory),
                    "PROMETHEUS_MULTIPROC_DIR": str(metrics),
                },
                stdout=log,
                stderr=log,
                process_group=0,  # Ctrl-C reaches the demo alone, which then ends the server.
            )
        try:
            self.wait_for_answer()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def refuse_port_in_use(self) -> None:
        """Say so at once; gunicorn tries for some seconds first."""
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((HOST, self.port))
            except OSError as exc:
                raise ServerError(f"Port {self.port} is in use: choose another one by --port.") from exc

    def wait_for_answer(self) -> None:
        """Return when the server answers."""
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline and self.process.poll() is None:
            line = http.client.HTTPConnection(HOST, self.port, timeout=PATIENCE)
            try:
                line.request("HEAD", "/")
                line.getresponse()
            except OSError:
                time.sleep(0.1)
            else:
                return
            finally:
                line.close()
        raise ServerError(f"The server does not start:\n{self.last_words()}")

    def last_words(self) -> str:
        """Return the end of the server's log."""
        return self.log.read_text(errors="replace")[-3000:]

    def wait(self) -> None:
        """Return when the server ends."""
        self.process.wait()

    def stop(self) -> None:
        """End the server and all its processes."""
        self.process.terminate()
        try:
            self.process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
