"""What tests of the documentation have at hand."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.docs.runner import run_page


@pytest.fixture
def run(db: None, monkeypatch: pytest.MonkeyPatch) -> Callable[[Path], dict[str, Any]]:
    """Return what runs a page's code, with a database, and gives its names."""
    return lambda path: run_page(path, monkeypatch)
