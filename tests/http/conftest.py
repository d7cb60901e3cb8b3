"""Doors, and servers of other kinds."""

from collections.abc import Generator, Iterator

import pytest
from django.contrib.auth.models import User
from pytest_django import DjangoDbBlocker

from django_idempotency.models import IdempotencyKey
from tests.app.models import Effect
from tests.http.doors import ADDRESSES, Door
from tests.server import GUNICORN, UVICORN, Server, running

# Half of the threads of the others: each keeps its connection, of which a database has not many to give.
SMALL_GUNICORN = (*GUNICORN, "--threads=4", "--worker-connections=4")


@pytest.fixture(scope="session")
def atomic_gunicorn(engine: str) -> Iterator[Server]:
    """Run gunicorn with ATOMIC_REQUESTS on."""
    with running((*SMALL_GUNICORN, "--env=DJANGO_SETTINGS_MODULE=tests.http.atomic_settings")) as server:
        yield server


@pytest.fixture(scope="session")
def bare_uvicorn(engine: str) -> Iterator[Server]:
    """Run uvicorn without any middleware."""
    with running([part.replace("tests.asgi", "tests.http.bare_asgi") for part in UVICORN]) as server:
        yield server


@pytest.fixture
def transactional_db(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> Iterator[None]:
    """Let a test use the database, then delete what it and the servers wrote.

    pytest-django's own fixture of this name flushes every table instead, which takes longer than most tests here.
    """
    with django_db_blocker.unblock():
        yield
        for model in (Effect, IdempotencyKey, User):
            model.objects.all().delete()


@pytest.fixture
def door(request: pytest.FixtureRequest, transactional_db: None) -> Iterator[Door]:
    """Return the door that the test's parameter names.

    When the test ends, gates are opened and requests end before the rows are deleted.
    """
    fixture, path = ADDRESSES[request.param]
    server = request.getfixturevalue(fixture)
    yield Door(server=server, path=path)
    server.settle()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show what the door's server wrote last when a test failed."""
    report = yield
    if report.when == "call" and report.failed and (door := getattr(item, "funcargs", {}).get("door")):
        report.sections.append(("server log", door.server.log.read_text(errors="replace")[-10_000:]))
    return report
