"""What the tests of the checkout have at hand."""

from collections.abc import Iterator

import pytest
from pytest_django import DjangoDbBlocker

from tests.checkout.bank import Bank, running


@pytest.fixture(scope="session")
def bank(engine: str, django_db_blocker: DjangoDbBlocker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bank]:
    """Run the bank, once for all tests: each has references of its own."""
    with django_db_blocker.unblock(), running(tmp_path_factory.mktemp("bank")) as bank:
        yield bank
