"""The pytest plugin: fixtures that see to real commits, and lines that say what was tried.

It is loaded in every project that has the package: nothing is imported here but pytest.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import pytest

_FIXTURES: Final = ("assert_exactly_once", "idempotency_race")
_TRIED: Final = pytest.StashKey[list[tuple[str, object]]]()


def pytest_itemcollected(item: pytest.Item) -> None:
    """Ask pytest-django for real commits, on every database, where a test takes one of the fixtures."""
    names = getattr(item, "fixturenames", ())
    if any(name in names for name in _FIXTURES) and item.config.pluginmanager.hasplugin("django"):
        marker = item.get_closest_marker("django_db")
        if marker is None:
            item.add_marker(pytest.mark.django_db(transaction=True, databases="__all__"))


@pytest.fixture
def assert_exactly_once(request: pytest.FixtureRequest) -> Callable[..., Any]:
    """Return `django_idempotency.testing.assert_exactly_once`, in a test that commits for real."""
    from django_idempotency import testing  # noqa: PLC0415 - Django is imported only where the fixture is used

    return _noted(request, testing.assert_exactly_once)


@pytest.fixture
def idempotency_race(request: pytest.FixtureRequest) -> Callable[..., Any]:
    """Return `django_idempotency.testing.race`, in a test that commits for real."""
    from django_idempotency import testing  # noqa: PLC0415 - Django is imported only where the fixture is used

    return _noted(request, testing.race)


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Say what was tried."""
    if tried := config.stash.get(_TRIED, None):
        terminalreporter.section("exactly once")
        for test, result in tried:
            terminalreporter.line(f"{test}: {result}")


def _noted(request: pytest.FixtureRequest, function: Callable[..., Any]) -> Callable[..., Any]:
    def call(*args: Any, **kwargs: Any) -> Any:
        result = function(*args, **kwargs)
        request.config.stash.setdefault(_TRIED, []).append((request.node.nodeid, result))
        return result

    return call
