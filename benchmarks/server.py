"""Each side's own server: gunicorn, with threads in several processes."""

from __future__ import annotations

import http.client
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from benchmarks.environment import ROOT
from benchmarks.payment import payment
from benchmarks.project.sides import Side


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    side: Side
    port: int
    pid: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}{self.side.path}"

    def pay(self, key: str) -> int:
        """Send one payment as the script for wrk does, and return the answer's status."""
        client = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        headers = {"Content-Type": "application/json", "Accept": "application/json", "Idempotency-Key": key}
        client.request("POST", self.side.path, payment(key), headers)
        response = client.getresponse()
        response.read()
        client.close()
        return response.status


@contextmanager
def serving(side: Side, *, workers: int = 2, threads: int = 4) -> Iterator[Server]:
    """Serve *side* from as many processes, with as many threads each, on a free port."""
    with socket.create_server(("127.0.0.1", 0), backlog=256) as listener:
        command = [sys.executable, "-m", "gunicorn", "benchmarks.project.wsgi", f"--bind=fd://{listener.fileno()}"]
        # A worker takes no more connections than it has threads, so that all of them share the load.
        command += ["--worker-class=gthread", f"--workers={workers}", f"--threads={threads}"]
        command += [f"--worker-connections={threads}", "--no-control-socket", "--log-level=error", "--keep-alive=60"]
        process = subprocess.Popen(
            command, cwd=ROOT, env={**os.environ, "BENCHMARK_SIDE": side.name}, pass_fds=[listener.fileno()]
        )
        port = listener.getsockname()[1]
    try:
        yield Server(side=side, port=port, pid=process.pid)
    finally:
        process.terminate()
        process.wait(30)
