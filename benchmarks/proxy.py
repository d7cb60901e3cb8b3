"""A database server that is further away: a TCP proxy that holds back what clients send.

Run as `python -m benchmarks.proxy ADDRESS SECONDS`, it prints the port that it listens on. It is a process of its own,
so that it takes no time from the one that is measured but what it is there to take.
"""

from __future__ import annotations

import ctypes
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from benchmarks.environment import ROOT

# Linux wakes sleepers up to 50 microseconds late, unless they ask it not to: prctl(PR_SET_TIMERSLACK).
PR_SET_TIMERSLACK: Final = 29


@contextmanager
def delayed(address: str, seconds: float) -> Iterator[int]:
    """Yield the port of a proxy before *address*, a path or host:port, that adds as much to every round trip."""
    command = [sys.executable, "-m", "benchmarks.proxy", address, str(seconds)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout
            yield int(process.stdout.readline())
        finally:
            process.terminate()


def main(address: str, delay: float) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        print(listener.getsockname()[1], flush=True)
        while True:
            client, _ = listener.accept()
            server = connected(address)
            threading.Thread(target=copy, args=(client, server, delay), daemon=True).start()
            threading.Thread(target=copy, args=(server, client, 0.0), daemon=True).start()


def connected(address: str) -> socket.socket:
    if address.startswith("/"):
        server = socket.socket(socket.AF_UNIX)
        server.connect(address)
        return server
    host, _, port = address.rpartition(":")
    server = socket.create_connection((host, int(port)))
    server.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return server


def copy(source: socket.socket, target: socket.socket, delay: float) -> None:
    """Send on what comes, *delay* seconds later; what a client sends while one waits is a round trip of its own."""
    ctypes.CDLL(None).prctl(PR_SET_TIMERSLACK, 1, 0, 0, 0)
    if source.family == socket.AF_INET:
        source.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    try:
        while data := source.recv(65536):
            if delay:
                time.sleep(delay)
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
    except OSError:
        source.close()
        target.close()


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]))
