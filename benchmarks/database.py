"""A database of our own on the server that is measured."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from django.contrib.auth.models import User
from django.core.management import call_command
from django.db import connection, connections


@contextmanager
def own_database() -> Iterator[None]:
    """Make the database, with its tables and one customer, and drop it in the end."""
    drop()
    if connection.vendor != "sqlite":
        administrate(f"CREATE DATABASE {name()}")
    try:
        call_command("migrate", run_syncdb=True, verbosity=0, skip_checks=True)
        User.objects.create(pk=1, username="customer1", is_staff=True, is_superuser=True)
        yield
    finally:
        connections.close_all()
        drop()


def name() -> str:
    return os.environ["BENCHMARK_DATABASE"]


def drop() -> None:
    if connection.vendor == "sqlite":
        path = Path(connection.settings_dict["NAME"])
        for file in path.parent.glob(f"{path.name}*"):
            file.unlink()
    elif connection.vendor == "postgresql":
        administrate(f"DROP DATABASE IF EXISTS {name()} WITH (FORCE)")
    else:
        administrate(f"DROP DATABASE IF EXISTS {name()}")


def administrate(statement: str) -> None:
    with connections["server"].cursor() as cursor:
        cursor.execute(statement)
    connections["server"].close()


def backend_pid() -> int | None:
    """Return the process that serves this thread's connection, where the server has one for each."""
    if connection.vendor != "postgresql":
        return None
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        return int(cursor.fetchone()[0])


def facts() -> dict[str, str]:
    """Return what the server is, and what of its settings decides what a commit costs."""
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            settings = ("server_version", "fsync", "synchronous_commit", "shared_buffers", "autovacuum")
            statement = "SELECT name, current_setting(name) FROM pg_settings WHERE name = ANY(%s)"
            cursor.execute(statement, [list(settings)])
        elif connection.vendor == "mysql":
            cursor.execute(
                "SHOW VARIABLES WHERE Variable_name IN ('version', 'innodb_flush_log_at_trx_commit', 'sync_binlog', "
                "'innodb_buffer_pool_size')"
            )
        else:
            cursor.execute("SELECT 'SQLite', sqlite_version()")
        return {key: str(value) for key, value in cursor.fetchall()}
