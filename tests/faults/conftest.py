"""Storms are as long as TEST_FAULTS_SECONDS says, all of an engine's together; TEST_FAULTS_SEED repeats the dice."""

import os
import random
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field

import pytest
from django.db import connections
from pytest_django import DjangoDbBlocker

from tests.faults.bank import Bank
from tests.faults.model import violations
from tests.faults.storm import ACCOUNTS, Storm, worker_killer
from tests.gate import TIMEOUT
from tests.server import Server

STORMS = pytest.StashKey[list[str]]()
BALANCE = 300
SHORT_STORM = 3.0


@dataclass(slots=True, kw_only=True)
class Weather:
    """What makes storms, of so many seconds each; and what they were like."""

    seconds: float
    seed: int
    forecast: list[str] = field(default_factory=list)

    def brew(
        self,
        server: Server,
        bank: Bank,
        *,
        paths: Sequence[str],
        faults: Sequence[str] = (),
        acts: Sequence[Callable[[], None]] = (),
        then: Callable[[], None] = lambda: None,
        patience: float = TIMEOUT,
    ) -> list[str]:
        """Let it storm, let it calm down, *then* included, and return the promises that were broken."""
        connections.close_all()  # Else this thread's own session may be cut.
        opening = bank.open(ACCOUNTS, BALANCE)
        kill_worker = worker_killer(server, self.seed)
        storm = Storm(server=server, paths=paths, faults=faults, acts=[kill_worker, *acts], seed=self.seed)
        storm.rage(self.seconds)
        then()
        storm.calm(patience)
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
        name = item.nodeid.removeprefix("tests/faults/")
        storms += [f"{name}, seed {weather.seed}: {storm}" for storm in weather.forecast]
    if report.when == "call" and report.failed:
        for server in getattr(item, "funcargs", {}).values():
            if isinstance(server, Server):
                report.sections.append(("server log", server.log.read_text(errors="replace")[-10_000:]))
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    for storm in config.stash.get(STORMS, []):
        terminalreporter.write_line(storm)
