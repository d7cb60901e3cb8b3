"""The shop of the example project: its workers, its database, and the bank that it calls."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import psutil

from tests.checkout.bank import TOKEN, Bank
from tests.databases import another, url_of
from tests.gate import TIMEOUT
from tests.server import ROOT, stop

T = TypeVar("T")

AT_A_TIME = 4

CARDS = "/shop/checkouts/"
WIRES = "/shop/checkouts/wires/"


class KilledError(Exception):
    """The job's process is gone, and has not said what came of it."""


class Running:
    """A job that was started, in a process of its own."""

    def __init__(self, address: str, job: dict[str, Any]) -> None:
        self.place = ""
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(3 * TIMEOUT)
            connection.connect(address)
            self.messages = connection.makefile("rw")  # Which keeps the connection.
        self.pid: int = self.hear()["pid"]
        print(json.dumps(job), file=self.messages, flush=True)

    def result(self) -> Any:
        """Return what the job returned.

        Raises: KilledError.
        """
        with self.messages:
            message = self.hear()
            if "place" in message:
                self.place = message["place"]
                message = self.hear()
        assert "answer" in message, message["error"]
        return message["answer"]

    def wait_stopped(self) -> None:
        """Return once the process stands still."""
        message = self.hear()
        assert "place" in message, message
        self.place = message["place"]
        process = psutil.Process(self.pid)
        while process.status() != psutil.STATUS_STOPPED:
            pass

    def wake(self) -> None:
        """Let a process go on that stood still."""
        os.kill(self.pid, signal.SIGCONT)

    def hear(self) -> dict[str, Any]:
        """Return the next message of the process.

        Raises: KilledError.
        """
        line = self.messages.readline()
        if not line:
            raise KilledError(self.place)
        heard: dict[str, Any] = json.loads(line)
        return heard


@dataclass(slots=True, kw_only=True)
class Shop:
    """What the tests know of the shop."""

    bank: Bank
    address: str
    token: str

    def start(self, name: str, *, at: int | None = None, end: str = "", **arguments: Any) -> Running:
        """Start a job; with *end*, watch the places it passes, and end it at number *at*."""
        fuse = {"at": at, "end": end} if end else None
        return Running(self.address, {"name": name, "fuse": fuse, **arguments})

    def run(self, name: str, **arguments: Any) -> Any:
        """Do a job, and return what it returned."""
        return self.start(name, **arguments).result()

    def each(self, jobs: Iterable[Callable[[], T]]) -> list[T]:
        """Do jobs, some at a time; return what they returned, in order."""
        with ThreadPoolExecutor(AT_A_TIME) as executor:
            return [done.result() for done in [executor.submit(job) for job in jobs]]


@contextmanager
def database(directory: Path) -> Iterator[str]:
    """Yield the URL of the shop's database, with its tables made."""
    with another("shop") as name, (directory / "shop.log").open("ab") as log:
        migrate = [sys.executable, "manage.py", "migrate"]
        subprocess.run(migrate, cwd=ROOT, env=environment(url_of(name)), check=True, stdout=log, stderr=log)
        yield url_of(name)


@contextmanager
def running(bank: Bank, url: str, *, lease: float, directory: Path) -> Iterator[Shop]:
    """Run the shop's workers on the database at *url* while the block runs. Their log goes to *directory*."""
    with ExitStack() as stack:
        log = stack.enter_context((directory / "shop.log").open("ab"))
        # A socket's path has room for some 100 characters: pytest's directory may be longer.
        address = str(Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="shop-"))) / "s")
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.checkout.worker", address],
            cwd=ROOT,
            env={**environment(url), "BANK_URL": bank.url, "BANK_TOKEN": TOKEN, "CHECKOUT_LEASE": str(lease)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
        )
        stack.callback(stop, process)
        assert process.stdout is not None
        with process.stdout as ready:
            token = ready.readline().decode().strip()
        assert token, (directory / "shop.log").read_text()
        yield Shop(bank=bank, address=address, token=token)


def environment(url: str) -> dict[str, str]:
    """Return the environment of the shop's processes."""
    return {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "example_project.settings",
        "DATABASE_URL": url,
        "DEBUG": "false",  # Whose list of all statements would slow a worker down.
        "SECRET_KEY": "tests",
    }
