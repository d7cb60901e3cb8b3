"""The example project, as its user runs it: commands in processes, on a database of its own."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import nats
from kombu import Connection

from tests.brokers import BROKERS
from tests.databases import another, count, url_of
from tests.gate import TIMEOUT, Gate

ROOT = Path(__file__).parent.parent.parent
MAKE_ACCOUNT = """
from django.contrib.auth.models import User
from django.core.management import call_command
from example_project.payments.models import Account
call_command("migrate", verbosity=0)
owner = User.objects.create(username="owner")
print(Account.objects.create(owner=owner, name="account", opening=1000, balance=1000).pk)
"""


@dataclass(slots=True, kw_only=True)
class Example:
    """The example project, one account in its database, and a broker."""

    broker: str
    database_url: str
    account: int
    directory: Path
    queue: str = field(default_factory=lambda: f"tests-{uuid.uuid4().hex}")
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)
    gates: list[Gate] = field(default_factory=list)

    @property
    def url(self) -> str:
        return BROKERS[self.broker].url

    def gate(self) -> Gate:
        """Return a new gate, which is opened at the latest when the test ends."""
        gate = Gate()
        self.gates.append(gate)
        return gate

    def consume(self, **gates: str) -> subprocess.Popen[bytes]:
        """Start `manage.py consume_orders`, with the gates that are named: INSIDE, AFTER."""
        return self.start(
            *("-m", "tests.jobs.gated", "consume_orders", f"--url={self.url}", f"--queue={self.queue}"),
            "--ack-wait=1",
            **gates,
        )

    def start(self, *arguments: str, **variables: str) -> subprocess.Popen[bytes]:
        """Start a process of the project's."""
        with (self.directory / f"{len(self.processes)}.log").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, *arguments],
                cwd=ROOT,
                env={**environment(self.database_url), "CELERY_BROKER_URL": self.url, **variables},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        self.processes.append(process)
        return process

    def manage(self, *arguments: str) -> str:
        """Run `manage.py`, and return what it prints."""
        return run("manage.py", *arguments, database_url=self.database_url)

    def publish(self, *arguments: str) -> None:
        """Run `manage.py publish_orders`."""
        address = (f"--url={self.url}", f"--queue={self.queue}", f"--account={self.account}")
        self.manage("publish_orders", *address, *arguments)

    def count(self, table: str) -> int:
        """Count the rows of a table."""
        return count(self.database_url, table)

    @property
    def log(self) -> str:
        """Return what all processes wrote."""
        return "\n".join(path.read_text(errors="replace") for path in sorted(self.directory.glob("*.log")))

    def wait_for(self, text: str, *, times: int = 1) -> None:
        """Return once the processes have written *text* so many times, or raise TimeoutError."""
        self.wait_until(lambda: self.log.count(text) >= times, f"{times} times {text!r}")

    def wait_until(self, happened: Callable[[], bool], what: str) -> None:
        """Return once *happened* returns true, or raise TimeoutError."""
        deadline = time.monotonic() + TIMEOUT
        while not happened():
            if time.monotonic() > deadline:
                message = f"waited for {what}; the log is\n{self.log}"
                raise TimeoutError(message)
            time.sleep(0.05)

    def kill(self, process: subprocess.Popen[bytes]) -> None:
        """End a process with SIGKILL."""
        process.kill()
        process.wait()


@contextmanager
def database() -> Iterator[tuple[str, int]]:
    """Yield the URL of a migrated database, beside the one under test, and the number of an account in it."""
    with another("example") as name:
        database_url = url_of(name)
        yield database_url, int(run("-c", f"import django; django.setup(){MAKE_ACCOUNT}", database_url=database_url))


def run(*arguments: str, database_url: str) -> str:
    """Run Python in the project's environment; return what it prints."""
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        env=environment(database_url),
        check=False,
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def environment(database_url: str) -> dict[str, Any]:
    """Return the environment of the project's processes."""
    return {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "example_project.settings",
        "DATABASE_URL": database_url,
        "PYTHONUNBUFFERED": "1",
    }


@contextmanager
def running(broker: str, database_url: str, account: int) -> Iterator[Example]:
    """Yield the project on *broker*, with a queue of its own; end what was started."""
    with TemporaryDirectory(prefix="idempotency-example-") as directory:
        example = Example(broker=broker, database_url=database_url, account=account, directory=Path(directory))
        try:
            yield example
        finally:
            for gate in example.gates:
                gate.open()
            for process in example.processes:
                example.kill(process)
            delete_queues(broker, example.url, example.queue)


def delete_queues(broker: str, url: str, name: str) -> None:
    """Delete what the project made on the broker."""
    if broker == "rabbitmq":
        with Connection(url) as connection:
            channel: Any = connection.default_channel
            for queue in (name, f"{name}.rejected"):
                channel.queue_delete(queue)
        return

    async def delete() -> None:
        async with await nats.connect(url) as client:
            await client.jetstream().delete_stream(name)

    asyncio.run(delete())
