"""What the tests of the checkout have at hand."""

from collections.abc import Iterator

import pytest
from pytest_django import DjangoDbBlocker

from tests.checkout import bank as banks
from tests.checkout import shop as shops
from tests.checkout.bank import Bank
from tests.checkout.shop import Shop


@pytest.fixture(scope="session")
def bank(engine: str, django_db_blocker: DjangoDbBlocker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bank]:
    """Run the bank, once for all tests: each has references of its own."""
    with django_db_blocker.unblock(), banks.running(tmp_path_factory.mktemp("bank")) as bank:
        yield bank


@pytest.fixture(scope="session")
def shop_database(
    engine: str, django_db_blocker: DjangoDbBlocker, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """Make the shop's database, once for all tests: each has goods of its own."""
    with django_db_blocker.unblock(), shops.database(tmp_path_factory.mktemp("shop")) as url:
        yield url


@pytest.fixture(scope="session")
def shop(bank: Bank, shop_database: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    """Run the shop's workers, with leases that are soon over."""
    with shops.running(bank, shop_database, lease=1.0, directory=tmp_path_factory.mktemp("shop")) as shop:
        yield shop


@pytest.fixture(scope="session")
def patient_shop(bank: Bank, shop_database: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    """Run the shop's workers, with leases that last for longer than a test."""
    with shops.running(bank, shop_database, lease=600.0, directory=tmp_path_factory.mktemp("shop")) as shop:
        yield shop
