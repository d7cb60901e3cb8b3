"""Databases beside the ones under test, for processes that have settings of their own."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

from django.db import connections
from django.db.utils import ConnectionHandler
from environ import Env


@contextmanager
def another(suffix: str) -> Iterator[str]:
    """Yield the name of an empty database on the server under test, and drop it afterwards."""
    connection = connections["default"]
    name = f"{connection.settings_dict['NAME']}_{suffix}"
    if connection.vendor == "sqlite":
        yield name  # A file beside that of the tests, in a directory that goes as a whole.
        return
    execute(f"DROP DATABASE IF EXISTS {name}", f"CREATE DATABASE {name}")
    dispense_with_disk(name)
    try:
        yield name
    finally:
        execute(f"DROP DATABASE {name}")


def dispense_with_disk(name: str) -> None:
    """Let sessions of the database called *name* not wait until a commit is on the disk.

    A killed process or session loses nothing by that, only a loss of power would. SQLite has it from the settings; what
    MariaDB does is for all of its databases, and not ours to say.
    """
    if connections["default"].vendor == "postgresql":
        execute(f'ALTER DATABASE "{name}" SET synchronous_commit = off')


def url_of(name: str) -> str:
    """Return the URL of the database called *name*."""
    url = os.environ["DATABASE_URL"]
    return f"sqlite:///{name}" if url.startswith("sqlite") else urlsplit(url)._replace(path=f"/{name}").geturl()


def execute(*statements: str) -> None:
    """Execute statements that no database must be open for."""
    with connections["default"]._nodb_cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)


def count(url: str, table: str) -> int:
    """Count the rows of a table in the database at *url*."""
    connection = ConnectionHandler({"default": Env.db_url_config(url)})["default"]
    try:
        with connection.cursor() as cursor:
            cursor.execute(f"SELECT COUNT(*) FROM {table}")
            return int(cursor.fetchone()[0])
    finally:
        connection.close()
