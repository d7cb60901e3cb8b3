"""The disk is full: nothing is left behind; there is room again, and the retry runs."""

import os
import pwd
import random
import re
import subprocess
import time
from contextlib import ExitStack, contextmanager
from functools import partial

import pytest
from django.db import OperationalError

from tests.faults.bank import Bank
from tests.faults.clients import Client
from tests.faults.cluster import cluster, spawn
from tests.faults.disks import small_disk
from tests.faults.model import Order
from tests.faults.servers import serving
from tests.gate import TIMEOUT

# What a disk holds in megabytes, and how much of that is taken.
SIZES = {"sqlite": (12, 4), "postgresql": (12, 4), "mariadb": (160, 32)}
ORDER = Order(user="ann", key="key", payer=1, payee=2, amount=30)
PATHS = pytest.mark.parametrize("path", ["/plain/", "/drf/"])

pytestmark = pytest.mark.tool("mount")


@contextmanager
def sqlite_on(disk):
    """Keep the file on the disk."""
    yield {"NAME": str(disk.path / "db.sqlite3")}


@contextmanager
def postgresql_on(disk):
    """Keep the tables on the disk, and all else elsewhere."""
    with cluster() as server:
        space = disk.path / "space"
        space.mkdir()
        if server.user is not None:
            os.chown(space, pwd.getpwnam(server.user).pw_uid, -1)
        with Bank(server.settings).cursor() as cursor:
            cursor.execute(f"CREATE TABLESPACE small LOCATION '{space}'")
            cursor.execute("ALTER ROLE postgres SET default_tablespace = 'small'")
        yield server.settings


@contextmanager
def mariadb_on(disk):
    """Keep a server of its own there: InnoDB has its logs and tables in one place."""
    data, socket = disk.path / "data", disk.path / "socket"
    options = ["--no-defaults", "--user=mysql", f"--datadir={data}", "--innodb-log-file-size=4M"]
    subprocess.run(["mariadb-install-db", *options, "--auth-root-authentication-method=normal"], check=True)
    process = spawn(["mariadbd", *options, f"--socket={socket}", "--skip-networking"], user=None, log=disk.path / "log")
    try:
        settings = {"NAME": "faults", "USER": "root", "PASSWORD": "", "HOST": str(socket), "PORT": ""}
        create(settings)
        yield settings
    finally:
        process.kill()
        process.wait()


def create(settings):
    """Create the database once the server takes connections."""
    deadline = time.monotonic() + TIMEOUT
    while True:
        try:
            with Bank({**settings, "NAME": ""}).cursor() as cursor:
                cursor.execute("CREATE DATABASE faults CHARACTER SET utf8mb4")
        except OperationalError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.02)
        else:
            return


@pytest.fixture
def disk(transactional_db, engine):
    megabytes, ballast = SIZES[engine]
    with small_disk(megabytes=megabytes, ballast=ballast) as disk:
        yield disk


@pytest.fixture
def bank(disk, engine):
    """Return a bank whose tables are on the disk."""
    database = {"sqlite": sqlite_on, "postgresql": postgresql_on, "mariadb": mariadb_on}[engine]
    with database(disk) as settings:
        bank = Bank(settings)
        bank.build()
        bank.open(2, 100)
        yield bank


@pytest.fixture
def gunicorn(bank):
    with serving(bank.settings) as server:
        yield server


@pytest.fixture
def send(gunicorn):
    """Return what sends the order."""
    client = Client(address=(gunicorn.host, gunicorn.port), dice=random.Random())
    return partial(client.send, ORDER)


def was_full(server):
    """Tell whether the database told the worker that the disk is full."""
    return re.search("No space left on device|disk is full|table '.+' is full", server.log.read_text())


class TestFullDisk:
    @PATHS
    def test_handler_that_fills_it_leaves_nothing_behind(self, disk, bank, gunicorn, send, path):
        first = send(path, fault="after hoard")
        left = bank.books()
        disk.free()

        retry = send(path)

        assert first.status == 500
        assert was_full(gunicorn)
        assert (left.runs, left.keys) == ([], [])
        assert (retry.status, retry.replayed) == (201, False)
        assert bank.books().balances == {1: 70, 2: 130}

    @pytest.mark.engine("sqlite", "postgresql")  # InnoDB gives a new table room for some rows at once.
    @PATHS
    def test_claim_that_finds_no_room_leaves_nothing_behind(self, disk, bank, gunicorn, send, path):
        disk.fill()

        first = send(path)
        left = bank.books()
        disk.free()
        retry = send(path)

        assert first.status == 500
        assert was_full(gunicorn)
        assert (left.runs, left.keys) == ([], [])
        assert (retry.status, retry.replayed) == (201, False)
        assert bank.books().balances == {1: 70, 2: 130}


@pytest.mark.engine("postgresql")
class TestFullDiskOfTheLog:
    """PostgreSQL gives up as a whole where it cannot write its log."""

    def test_leaves_nothing_behind_and_retry_runs(self, transactional_db):
        with ExitStack() as stack:
            disk = stack.enter_context(small_disk(megabytes=64, ballast=32))
            server = stack.enter_context(cluster(log_on=disk.path))
            bank = Bank(server.settings)
            bank.build()
            bank.open(2, 100)
            gunicorn = stack.enter_context(serving(server.settings))
            client = Client(address=(gunicorn.host, gunicorn.port), dice=random.Random())

            first = client.send(ORDER, "/plain/", fault="after hoard")
            disk.free()
            server.restart_immediately()
            left = bank.books()
            retry = client.send(ORDER, "/plain/")

            assert first.status == 500
            assert "No space left on device" in server.log
            assert (left.runs, left.keys) == ([], [])
            assert (retry.status, retry.replayed) == (201, False)
            assert bank.books().balances == {1: 70, 2: 130}
