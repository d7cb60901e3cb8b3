"""Background jobs in real workers of django.tasks (Django 6.0 and newer), whose queue is the database."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from django.db import connections
from django.db.utils import ConnectionHandler
from pytest_django import DjangoDbBlocker

from tests import server
from tests.databases import another
from tests.gate import TIMEOUT
from tests.jobs.example import ROOT

# On SQLite, the duplicate waits for the first one.
pytestmark = [pytest.mark.django_db, pytest.mark.engine("postgresql", "mariadb")]

RESULTS = "SELECT status, return_value FROM django_tasks_database_dbtaskresult ORDER BY enqueued_at"


class Project:
    """The tests' settings with a queue of jobs, on a database of its own."""

    def __init__(self, name: str) -> None:
        names = json.loads(server.environment(Path(os.devnull))["TEST_DATABASES"])
        self.environment = {
            **os.environ,
            "DJANGO_SETTINGS_MODULE": "tests.jobs.django_worker_settings",
            "TEST_DATABASES": json.dumps({**names, "default": name}),
        }
        self.connection = ConnectionHandler({"default": {**connections["default"].settings_dict, "NAME": name}})

    def start(self, *arguments: str) -> subprocess.Popen[bytes]:
        """Start a management command."""
        command = [sys.executable, "-m", "django", *arguments]
        return subprocess.Popen(command, cwd=ROOT, env=self.environment, stdin=subprocess.DEVNULL)

    def run(self, *arguments: str) -> None:
        """Run a management command."""
        assert self.start(*arguments).wait(timeout=TIMEOUT) == 0

    def query(self, sql: str) -> list[Any]:
        """Return the rows of a query."""
        with self.connection["default"].cursor() as cursor:
            cursor.execute(sql)
            return list(cursor.fetchall())

    def wait_for(self, **counts: int) -> list[Any]:
        """Return the results of all jobs once there are as many of each status."""
        deadline = time.monotonic() + TIMEOUT
        while True:
            rows = self.query(RESULTS)
            statuses = [status for status, _ in rows]
            if all(statuses.count(status) >= count for status, count in counts.items()):
                return rows
            assert time.monotonic() < deadline, rows
            time.sleep(0.05)


@pytest.fixture
def project(engine: str, django_db_blocker: DjangoDbBlocker) -> Iterator[Project]:
    with ExitStack() as stack:
        stack.enter_context(django_db_blocker.unblock())
        project = Project(stack.enter_context(another("tasks")))
        stack.callback(project.connection.close_all)
        project.run("migrate", "--run-syncdb", "--verbosity=0")
        yield project


class TestIdempotentTask:
    def test_duplicate_is_enqueued_again_until_the_first_one_has_ended(self, project, gate):
        enqueue = f"from tests.jobs.django_jobs import charge_order as job; job.enqueue(1, {gate.path!r})"
        project.run("shell", "-c", f"{enqueue}; {enqueue}")
        workers = [project.start("db_worker", "--no-startup-delay", "--interval=0.1") for _ in range(2)]
        try:
            gate.wait()
            project.wait_for(FAILED=2)
            gate.open()

            rows = project.wait_for(SUCCESSFUL=2)
        finally:
            for worker in workers:
                worker.kill()
                worker.wait()

        assert len({value for status, value in rows if status == "SUCCESSFUL"}) == 1
        assert project.query("SELECT COUNT(*) FROM app_effect") == [(1,)]
