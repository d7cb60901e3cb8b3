"""The database of a storm, seen from outside of the server: plain SQL, each time in a session of its own."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from django.db import OperationalError, connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.utils import CursorWrapper

from django_idempotency.models import IdempotencyKey
from tests.app.models import Account, Deferred, Effect
from tests.faults.model import Books, Run

# The session has ended by itself meanwhile.
UNKNOWN_THREAD = 1094
TABLES = ("app_effect", "app_account", "django_idempotency_idempotencykey")
CUT_ONE = {
    "postgresql": (
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() "
        "AND backend_type = 'client backend' AND pid <> pg_backend_pid() ORDER BY state = 'idle', random() LIMIT 1"
    ),
    "mysql": (
        "SELECT p.id FROM information_schema.processlist p "
        "LEFT JOIN information_schema.innodb_trx t ON t.trx_mysql_thread_id = p.id "
        "WHERE p.db = DATABASE() AND p.id <> CONNECTION_ID() ORDER BY t.trx_id IS NULL, RAND() LIMIT 1"
    ),
}


@dataclass(frozen=True, slots=True)
class Bank:
    """Accounts; *settings* replace parts of the test database's settings, where it is another one."""

    settings: Mapping[str, Any] = field(default_factory=dict)

    @contextmanager
    def connection(self) -> Iterator[BaseDatabaseWrapper]:
        """Yield a new connection."""
        default = connections["default"]
        connection = type(default)({**default.settings_dict, **self.settings}, alias="default")
        try:
            yield connection
        finally:
            connection.close()

    @contextmanager
    def cursor(self) -> Iterator[CursorWrapper]:
        """Yield a cursor in a session of its own, in autocommit."""
        with self.connection() as connection, connection.cursor() as cursor:
            yield cursor

    def build(self) -> None:
        """Make the tables, in a database that has none."""
        with self.connection() as connection, connection.schema_editor() as editor:
            for model in (Account, Effect, Deferred, IdempotencyKey):
                editor.create_model(model)

    def open(self, accounts: int, balance: int) -> dict[int, int]:
        """Open so many accounts, and return what each of them holds."""
        opening = dict.fromkeys(range(1, accounts + 1), balance)
        with self.cursor() as cursor:
            cursor.executemany("INSERT INTO app_account (id, balance) VALUES (%s, %s)", list(opening.items()))
        return opening

    def books(self) -> Books:
        """Read what was committed."""
        with self.cursor() as cursor:
            cursor.execute("SELECT label FROM app_effect")
            labels = [label.split(" ") for (label,) in cursor.fetchall()]
            cursor.execute("SELECT id, balance FROM app_account")
            balances = dict(cursor.fetchall())
            key = cursor.db.ops.quote_name("key")
            cursor.execute(f"SELECT scope, {key} FROM django_idempotency_idempotencykey")
            keys = [f"{scope}/{name}" for scope, name in cursor.fetchall()]
        return Books(
            runs=[Run(order=order, outcome=outcome, answer=answer) for order, outcome, answer in labels],
            balances=balances,
            keys=keys,
        )

    def clear(self) -> None:
        """Delete all of it."""
        with self.cursor() as cursor:
            for table in TABLES:
                cursor.execute(f"DELETE FROM {table}")

    def cut_session(self) -> None:
        """End one of the server's sessions, one in a transaction if there is any."""
        with self.cursor() as cursor:
            cursor.execute(CUT_ONE[cursor.db.vendor])
            row = cursor.fetchone()
            if row and cursor.db.vendor == "mysql":
                try:
                    cursor.execute("KILL CONNECTION %s", row)
                except OperationalError as error:
                    if error.args[0] != UNKNOWN_THREAD:
                        raise
