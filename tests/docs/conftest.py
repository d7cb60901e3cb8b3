"""Programs that are needed besides Python: a test that needs one is deselected, unless it is asked for.

TEST_TOOLS=node,sphinx asks for both; what is asked for and missing makes the test fail.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.docs.runner import run_page

TOOLS = frozenset({"node", "sphinx"})


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers", "tool(*names): needs these programs (node, sphinx); deselected without TEST_TOOLS"
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect what needs a tool that was not asked for; to skip it would hide it."""
    asked_for = set(filter(None, os.environ.get("TEST_TOOLS", "").split(",")))
    if unknown := asked_for - TOOLS:
        raise pytest.UsageError(f"TEST_TOOLS: unknown tool {unknown}")
    chosen: list[pytest.Item] = []
    others: list[pytest.Item] = []
    for item in items:
        names = {name for marker in item.iter_markers("tool") for name in marker.args}
        if unknown := names - TOOLS:
            raise pytest.UsageError(f"{item.nodeid}: unknown tool {unknown}")
        (chosen if names <= asked_for else others).append(item)
    if others:
        config.hook.pytest_deselected(items=others)
        items[:] = chosen


@pytest.fixture
def run(db: None, monkeypatch: pytest.MonkeyPatch) -> Callable[[Path], dict[str, Any]]:
    """Return what runs a page's code, with a database, and gives its names."""
    return lambda path: run_page(path, monkeypatch)
