"""Real workers of Celery's: processes, and the queue that a test and they share.

As a module, the app that `celery -A tests.jobs.worker worker` runs.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import psutil
from celery import Celery
from celery.signals import task_postrun
from kombu import Queue

from tests.brokers import BROKERS
from tests.gate import TIMEOUT, Gate, pass_gate

ROOT = Path(__file__).parent.parent.parent
OUTCOME = "outcome of "


def make_app(broker: str, queue: str) -> Celery:
    """Return an app on a queue of its own, which RabbitMQ deletes when nobody has used it for long."""
    arguments = {"x-expires": int(3000 * TIMEOUT)} if broker == "rabbitmq" else None
    app = Celery("tests.jobs.worker", broker=BROKERS[broker].url, include=["tests.jobs.celery_jobs"])
    app.conf.update(
        task_default_queue=queue,
        task_queues=[Queue(queue, queue_arguments=arguments)],
        task_ignore_result=True,
        worker_prefetch_multiplier=1,
        worker_hijack_root_logger=False,
        broker_connection_retry_on_startup=True,
    )
    if broker == "redis":
        # A message that was not acknowledged comes again after one or two seconds.
        app.conf.broker_transport_options = {
            "global_keyprefix": f"{queue}:",
            "visibility_timeout": 1,
            "unacked_restore_interval": 1,
            "unacked_restore_throttle": 1,
        }
    return app


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What came of one delivery."""

    task_id: str
    state: str
    result: Any


@dataclass(slots=True, kw_only=True)
class Workers:
    """A queue, and the workers on it."""

    broker: str
    queue: str
    app: Celery
    directory: Path
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)
    gates: list[Gate] = field(default_factory=list)

    def send(self, job: str, *args: Any, task_id: str | None = None, **kwargs: Any) -> str:
        """Enqueue a job; return its id."""
        return str(self.app.send_task(job, args, kwargs, task_id=task_id or uuid.uuid4().hex).id)

    def gate(self) -> Gate:
        """Return a new gate, which is opened at the latest when the test ends."""
        gate = Gate()
        self.gates.append(gate)
        return gate

    def start(self, *, concurrency: int = 2) -> None:
        """Start one more worker."""
        name = f"{self.queue}-{len(self.processes)}"
        arguments = ("-A", "tests.jobs.worker", "worker", f"--concurrency={concurrency}", f"--hostname={name}@%h")
        quiet = ("--without-gossip", "--without-mingle", "--without-heartbeat", "--loglevel=INFO")
        with (self.directory / f"{name}.log").open("ab") as log:
            self.processes.append(
                subprocess.Popen(
                    [sys.executable, "-m", "celery", *arguments, *quiet],
                    cwd=ROOT,
                    env={**environment(), "TEST_BROKER": self.broker, "TEST_QUEUE": self.queue},
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                )
            )

    def kill(self, pid: int) -> None:
        """End, with SIGKILL, the worker that has *pid* among its children, and all of them."""
        kill(psutil.Process(pid).ppid())

    def outcomes(self, task_id: str | None = None) -> list[Outcome]:
        """Return what came of the deliveries until now: of one job, or of all."""
        from tests.app.models import Effect

        labels = Effect.objects.filter(label__startswith=OUTCOME).order_by("pk").values_list("label", flat=True)
        rows = [json.loads(label.removeprefix(OUTCOME)) for label in labels]
        found = [Outcome(task_id=row[0], state=row[1], result=row[2]) for row in rows]
        return [outcome for outcome in found if task_id in {None, outcome.task_id}]

    def wait_for(self, **states: int) -> list[Outcome]:
        """Return all outcomes once there are as many of each state, or raise TimeoutError."""
        deadline = time.monotonic() + TIMEOUT
        while True:
            outcomes = self.outcomes()
            if Counter(outcome.state for outcome in outcomes) >= Counter(states):
                return outcomes
            if time.monotonic() > deadline:
                message = f"waited for {states}, got {outcomes}; the log is\n{self.log}"
                raise TimeoutError(message)
            time.sleep(0.05)

    @property
    def log(self) -> str:
        """Return what all workers wrote."""
        return "\n".join(path.read_text(errors="replace") for path in sorted(self.directory.glob("*.log")))


@contextmanager
def workers(broker: str) -> Iterator[Workers]:
    """Yield a queue of its own on *broker*, without workers yet; end those that were started."""
    queue = f"tests-{uuid.uuid4().hex}"
    with TemporaryDirectory(prefix="idempotency-workers-") as directory:
        found = Workers(broker=broker, queue=queue, app=make_app(broker, queue), directory=Path(directory))
        try:
            yield found
        finally:
            for gate in found.gates:
                gate.open()
            # Nothing is left to do; to end in good order takes them seconds.
            for process in found.processes:
                kill(process.pid)
                process.wait()
            delete(found)


def kill(pid: int) -> None:
    """End, with SIGKILL, a worker and its children; return when all are dead, though perhaps not yet reaped."""
    with suppress(psutil.NoSuchProcess):
        master = psutil.Process(pid)
        family = [master, *master.children(recursive=True)]
        for process in family:
            process.kill()
        while any(lives(process) for process in family):
            time.sleep(0.005)


def lives(process: psutil.Process) -> bool:
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def delete(found: Workers) -> None:
    """Delete the queue, and all else that Celery left on the broker."""
    with found.app.connection_for_write() as connection:
        channel: Any = connection.default_channel
        channel.queue_delete(found.queue)
        if found.broker == "redis":
            for key in channel.client.scan_iter(f"{found.queue}:*"):
                channel.client.execute_command("UNLINK", key)
    found.app.close()


def environment() -> dict[str, str]:
    """Return the environment that leads a worker to this process' test databases."""
    from tests import server

    return server.environment(Path(os.devnull))


def record(task_id: str, state: str, retval: Any, kwargs: dict[str, Any], **_: Any) -> None:
    """Write down what came of a delivery; then stop at the gate that the job names for this moment."""
    from tests.app.models import Effect

    result = retval if isinstance(retval, int) else type(retval).__name__
    Effect.objects.create(label=OUTCOME + json.dumps([task_id, state, result]))
    if after := kwargs.get("after"):
        pass_gate(after)


if "TEST_QUEUE" in os.environ:
    app = make_app(os.environ["TEST_BROKER"], os.environ["TEST_QUEUE"])
    task_postrun.connect(record)
