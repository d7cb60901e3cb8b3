"""What every test has at hand: the engine it runs on, servers, gates."""

import json
import os
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.db import connections
from django.db.utils import OperationalError
from pytest_django import DjangoDbBlocker

from tests import engines
from tests.brokers import BROKERS
from tests.databases import dispense_with_disk
from tests.gate import Gate
from tests.server import GUNICORN, UVICORN, Server, running

SERVER_VERSION = pytest.StashKey[str]()
LOG_START = pytest.StashKey[dict[str, int]]()
# Programs that are needed besides Python, each asked for by name: TEST_TOOLS=node,sphinx.
TOOLS = frozenset({"mount", "node", "pgbouncer", "sphinx", "wrk"})
OUTCOMES = ("passed", "failed", "error", "skipped", "xfailed", "deselected")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--brokers",
        action="store_true",
        help="run what needs RabbitMQ, Redis or NATS, too; fail if one does not answer",
    )
    parser.addoption("--long", action="store_true", help="run what takes long, too: storms, and kills at every place")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect what is marked for other engines, or as long, or for brokers or tools, if these were not asked for.

    To skip it would hide an engine. A tool that is asked for and missing makes its tests fail.
    """
    kind = engines.asked_for()
    with_brokers, with_long = config.getoption("--brokers"), config.getoption("--long")
    tools = set(filter(None, os.environ.get("TEST_TOOLS", "").split(",")))
    if unknown := tools - TOOLS:
        raise pytest.UsageError(f"TEST_TOOLS: unknown tool {unknown}; known are {', '.join(sorted(TOOLS))}")
    chosen: list[pytest.Item] = []
    others: list[pytest.Item] = []
    for item in items:
        names = names_in(item, "engine")
        if unknown := names - {engine.kind for engine in engines.ENGINES.values()}:
            message = f"{item.nodeid}: unknown engine {unknown}"
            raise pytest.UsageError(message)
        needed = names_in(item, "tool")
        if unknown := needed - TOOLS:
            message = f"{item.nodeid}: unknown tool {unknown}"
            raise pytest.UsageError(message)
        wanted = (
            (not names or kind in names)
            and (with_brokers or not names_in(item, "broker"))
            and (with_long or item.get_closest_marker("long") is None)
            and needed <= tools
        )
        (chosen if wanted else others).append(item)
    if others:
        config.hook.pytest_deselected(items=others)
        items[:] = chosen
    for name in sorted({name for item in items for name in names_in(item, "broker")}):
        if not BROKERS[name].answers():
            pytest.exit(f"cannot reach {name} at {BROKERS[name].url}", returncode=3)


def names_in(item: pytest.Item, name: str) -> set[str]:
    """Return all arguments of a test's markers called *name*."""
    return {argument for marker in item.iter_markers(name) for argument in marker.args}


def pytest_report_header() -> str:
    return f"engine: {os.environ.get('TEST_ENGINE', engines.asked_for())}"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show what the servers wrote while a test failed."""
    report = yield
    if report.failed:
        for name in ("server", "asgi_server"):
            if server := getattr(item, "funcargs", {}).get(name):
                start = item.stash.get(LOG_START, {}).get(name, 0)
                text = server.log.read_bytes()[start:].decode(errors="replace")
                report.sections.append((f"{name} log", text))
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Tell `python -m tests` what ran, and on which server."""
    if path := os.environ.get("TEST_REPORT"):
        stats = terminalreporter.stats
        counts = {name: len(stats[name]) for name in OUTCOMES if stats.get(name)}
        report = {"counts": counts, "server": config.stash.get(SERVER_VERSION, "")}
        Path(path).write_text(json.dumps(report))


@pytest.fixture(scope="session", autouse=True)
def engine(request: pytest.FixtureRequest, django_db_blocker: DjangoDbBlocker) -> str:
    """Return the kind of engine under test, having asked the server itself.

    Nothing runs when the server cannot be reached or is another one than was asked for.
    """
    kind = engines.asked_for()
    with django_db_blocker.unblock():
        try:
            versions = {alias: engines.version(connections[alias]) for alias in connections}
        except OperationalError as exc:
            pytest.exit(f"cannot reach {kind}: {exc}", returncode=3)
        for alias in connections:
            actual = engines.kind(connections[alias])
            if actual != kind:
                pytest.exit(f"{alias} is {actual}, asked for was {kind}", returncode=3)
            connections[alias].close()
    request.config.stash[SERVER_VERSION] = versions["default"]
    request.getfixturevalue("django_db_setup")
    with django_db_blocker.unblock():
        for alias in connections:
            dispense_with_disk(connections[alias].settings_dict["NAME"])
            connections[alias].close()
    return kind


@pytest.fixture
def gate() -> Iterator[Gate]:
    """Return a gate for threads of this process; a server's tests use `server.gate()`."""
    with Gate() as gate:
        yield gate


@pytest.fixture(scope="session")
def gunicorn(engine: str) -> Iterator[Server]:
    """Run gunicorn: two processes of eight threads each."""
    with running(GUNICORN) as server:
        yield server


@pytest.fixture(scope="session")
def uvicorn(engine: str) -> Iterator[Server]:
    """Run uvicorn: two processes."""
    with running(UVICORN) as server:
        yield server


@pytest.fixture
def server(request: pytest.FixtureRequest, transactional_db: None, gunicorn: Server) -> Iterator[Server]:
    """Return the WSGI server.

    When the test ends, gates are opened and requests end before the tables are emptied.
    """
    yield from settled(request, "server", gunicorn)


@pytest.fixture
def asgi_server(request: pytest.FixtureRequest, transactional_db: None, uvicorn: Server) -> Iterator[Server]:
    """Return the ASGI server; see `server`."""
    yield from settled(request, "asgi_server", uvicorn)


def settled(request: pytest.FixtureRequest, name: str, server: Server) -> Iterator[Server]:
    marker = request.node.get_closest_marker("django_db")
    empties_tables = marker is not None and marker.kwargs.get("transaction")
    if not empties_tables and "transactional_db" not in request.node.fixturenames:
        # pytest-django looks at what is asked for before the test begins.
        message = f"with getfixturevalue({name!r}), mark the test django_db(transaction=True)"
        raise pytest.UsageError(message)
    starts: dict[str, Any] = request.node.stash.setdefault(LOG_START, {})
    starts[name] = server.log.stat().st_size
    yield server
    server.settle()
