"""Storms on a real server: whatever dies, each order is carried out once, and its client gets to know it."""

from contextlib import closing
from typing import Any

import pytest
from django.db import connection

from django_idempotency import wire
from tests.faults.bank import Bank
from tests.faults.cluster import cluster, pgbouncer
from tests.faults.servers import serving

PATHS = ("/plain/", "/waiting/", "/async/", "/drf/")
CRASHES = ("kill", "kill on commit", "raise", "doom commit")
REPEATABLE_READ, SERIALIZABLE = 3, 4
# What the server's connections are like, on which engine.
VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    "PostgreSQL, repeatable read": ("postgresql", {"OPTIONS": {"isolation_level": REPEATABLE_READ}}),
    "PostgreSQL, serializable": ("postgresql", {"OPTIONS": {"isolation_level": SERIALIZABLE}}),
    "PostgreSQL, a pool of connections": (
        "postgresql",
        {"OPTIONS": {"pool": {"min_size": 1, "max_size": 8, "timeout": 20}}, "CONN_MAX_AGE": 0},
    ),
    "PostgreSQL, a pool that checks": (
        "postgresql",
        {"OPTIONS": {"pool": {"min_size": 2, "max_size": 8}}, "CONN_MAX_AGE": 0, "CONN_HEALTH_CHECKS": True},
    ),
    "MariaDB, repeatable read": ("mariadb", {"OPTIONS": {"isolation_level": "repeatable read"}}),
    "MariaDB, serializable": ("mariadb", {"OPTIONS": {"isolation_level": "serializable"}}),
    "MariaDB, snapshots": (
        "mariadb",
        {
            "OPTIONS": {
                "isolation_level": "repeatable read",
                "init_command": "SET SESSION innodb_snapshot_isolation = ON",
            }
        },
    ),
    "SQLite, write-ahead log": (
        "sqlite",
        {
            "OPTIONS": {
                "transaction_mode": "IMMEDIATE",
                "timeout": 20,
                "init_command": "PRAGMA journal_mode = WAL",
            }
        },
    ),
}

pytestmark = pytest.mark.long


@pytest.fixture
def journal(bank, engine):
    """Leave SQLite's file with the kind of journal that it had."""
    yield
    if engine == "sqlite":
        with bank.cursor() as cursor:
            cursor.execute("PRAGMA journal_mode = DELETE")


def faults():
    """Return what the requests of a storm bring along; SQLite has no sessions to cut."""
    return CRASHES if connection.vendor == "sqlite" else (*CRASHES, "cut session")


def acts(bank):
    """Return what happens to the sessions from outside."""
    return [] if connection.vendor == "sqlite" else [bank.cut_session]


@pytest.fixture
def server_of_its_own(transactional_db):
    """Return a PostgreSQL that may be killed, with the tables of a bank."""
    with cluster() as server:
        Bank(server.settings).build()
        yield server


class TestStorm:
    def test_leaves_every_order_carried_out_once(self, weather, bank):
        with serving() as server:
            assert weather.brew(server, bank, paths=PATHS, faults=faults(), acts=acts(bank)) == []

    @pytest.mark.parametrize(
        "variant", [pytest.param(name, marks=pytest.mark.engine(engine)) for name, (engine, _) in VARIANTS.items()]
    )
    def test_does_so_at_other_settings(self, weather, bank, journal, variant):
        _, settings = VARIANTS[variant]
        with serving(settings) as server:
            assert weather.brew(server, bank, paths=(*PATHS, "/rerun/"), faults=faults(), acts=acts(bank)) == []


class TestStormOnWhatIsWrong:
    """A storm that is no danger to anybody would prove nothing."""

    @pytest.mark.parametrize(
        ("path", "faults"),
        [
            ("/unguarded/", ["executed twice", "answered in two ways"]),
            ("/recorded-afterwards/", ["executed twice"]),
            ("/recorded-first/", ["stuck", "its key is remembered, its effect is not there"]),
        ],
    )
    def test_finds_it(self, weather, bank, path, faults):
        with serving() as server:
            broken = "\n".join(weather.brew(server, bank, paths=[path], faults=CRASHES, patience=0))

        assert all(fault in broken for fault in faults)


@pytest.mark.engine("postgresql")
class TestKilledServer:
    def test_leaves_every_order_carried_out_once(self, weather, server_of_its_own):
        bank, server = Bank(server_of_its_own.settings), server_of_its_own
        crashes = [server.kill_server, server.restart_immediately, server.kill_backend, bank.cut_session]

        with serving(server.settings) as gunicorn:
            assert weather.brew(gunicorn, bank, paths=PATHS, faults=faults(), acts=crashes) == []


@pytest.mark.tool("pgbouncer")
@pytest.mark.engine("postgresql")
class TestPgBouncer:
    @pytest.mark.parametrize("options", [{}, {"prepare_threshold": 1}], ids=str)
    def test_leaves_every_order_carried_out_once(self, weather, server_of_its_own, options):
        bank = Bank(server_of_its_own.settings)

        with (
            pgbouncer(server_of_its_own) as pooler,
            serving({**pooler.settings, "OPTIONS": options}) as gunicorn,
        ):
            crashes = [pooler.kill_pooler, bank.cut_session]
            assert weather.brew(gunicorn, bank, paths=PATHS, faults=faults(), acts=crashes) == []

    def test_its_sessions_prepare_nothing(self, server_of_its_own):
        with pgbouncer(server_of_its_own) as pooler:
            prepared = [self.prepared(settings) for settings in (server_of_its_own.settings, pooler.settings)]

        assert prepared == [1, 0]

    @staticmethod
    def prepared(settings):
        """Execute a statement ten times, and return how many the sessions have prepared."""
        wrapper = connection.copy()
        wrapper.settings_dict.update(settings)
        with closing(wrapper), wrapper.cursor() as cursor:
            for number in range(10):
                wire.execute(wrapper, "SELECT %s", wire.Row([number]), commit=True)
            cursor.execute("SELECT count(*) FROM pg_prepared_statements")
            return cursor.fetchone()[0]
