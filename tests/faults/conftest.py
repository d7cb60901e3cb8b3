"""Storms are as long as TEST_FAULTS_SECONDS says, all of an engine's together; TEST_FAULTS_SEED repeats the dice."""

import json
import os
import random
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from django.db import connections
from pytest_django import DjangoDbBlocker

from tests.faults.bank import Bank
from tests.faults.model import violations
from tests.faults.storm import ACCOUNTS, Storm, worker_killer
from tests.server import GUNICORN, Server, running

STORMS = pytest.StashKey[list[str]]()
# Workers that are killed come back at once, since they are copies of a process that has loaded Django.
STORM_GUNICORN = (
    *(*GUNICORN, "--threads=4", "--worker-connections=4", "--preload"),
    "--env=DJANGO_SETTINGS_MODULE=tests.faults.settings",
)
BALANCE = 300
SHORT_STORM = 4.0


@dataclass(slots=True, kw_only=True)
class Weather:
    """What makes storms, of so many seconds each."""

    seconds: float
    seed: int
    settings: dict[str, Any] = field(default_factory=dict)
    server: Server | None = None
    forecast: list[str] = field(default_factory=list)

    @contextmanager
    def serving(self, settings: Mapping[str, Any] | None = None) -> Iterator[Server]:
        """Run gunicorn, with *settings* in place of those of the test database."""
        settings = dict(settings or {})
        if connections["default"].vendor == "postgresql":
            # A second is what it takes by itself to look for a deadlock: a storm has many.
            settings["OPTIONS"] = {"options": "-c deadlock_timeout=20ms", **settings.get("OPTIONS", {})}
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("FAULTS_DATABASE", json.dumps(settings))
            with running(STORM_GUNICORN) as server:
                self.server = server
                yield server

    def brew(
        self,
        server: Server,
        bank: Bank,
        *,
        paths: Sequence[str],
        faults: Sequence[str] = (),
        acts: Sequence[Callable[[], None]] = (),
    ) -> list[str]:
        """Let it storm, let it calm down, and return the promises that were broken."""
        connections.close_all()  # Else this thread's own session may be cut.
        opening = bank.open(ACCOUNTS, BALANCE)
        kill_worker = worker_killer(server, self.seed)
        storm = Storm(server=server, paths=paths, faults=faults, acts=[kill_worker, *acts], seed=self.seed)
        storm.rage(self.seconds)
        storm.calm()
        server.wait_idle()
        self.forecast.append(str(storm))
        return violations([order for order, _ in storm.orders.values()], storm.attempts, opening, bank.books())


@pytest.fixture
def weather(request: pytest.FixtureRequest, transactional_db: None) -> Weather:
    """Return what makes storms; the time is divided among the tests that do."""
    total = os.environ.get("TEST_FAULTS_SECONDS")
    storms = [item for item in request.session.items if "weather" in getattr(item, "fixturenames", ())]
    seconds = float(total) / len(storms) if total else SHORT_STORM
    seed = int(os.environ.get("TEST_FAULTS_SEED") or random.randrange(10**6))
    return Weather(seconds=seconds, seed=seed)


@pytest.fixture
def bank(transactional_db: None) -> Bank:
    """Return the test database as a storm's."""
    return Bank()


@pytest.fixture
def transactional_db(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> Iterator[None]:
    """Let a test use the database, then delete what it and the servers wrote.

    pytest-django's own fixture of this name flushes every table instead, which takes longer than most tests here.
    """
    with django_db_blocker.unblock(), ExitStack() as stack:
        stack.callback(connections.close_all)
        stack.callback(Bank().clear)
        yield


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Tell what a storm was like, and what its server wrote last where the test failed."""
    report = yield
    weather: Weather | None = getattr(item, "funcargs", {}).get("weather")
    if report.when == "call" and weather is not None:
        storms = item.config.stash.setdefault(STORMS, [])
        storms += [f"{item.name}, seed {weather.seed}: {storm}" for storm in weather.forecast]
        if report.failed and weather.server is not None and weather.server.log.exists():
            log = weather.server.log.read_text(errors="replace")
            report.sections.append(("server log", log[-10_000:]))
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    for storm in config.stash.get(STORMS, []):
        terminalreporter.write_line(storm)
