"""People who may do more or less in the admin, and their clients."""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client
from pytest_django import Settings

from tests.admin import browser
from tests.factories import UserFactory

if TYPE_CHECKING:
    from selenium.webdriver import Chrome

LIST = "/admin/django_idempotency/idempotencykey/"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect what needs a browser where there is none; TEST_BROWSER=1 insists on one."""
    if browser.is_available():
        return
    needing = [item for item in items if "chromium" in getattr(item, "fixturenames", ())]
    if needing:
        config.hook.pytest_deselected(items=needing)
        items[:] = [item for item in items if item not in needing]


@pytest.fixture
def operator(db: None) -> Callable[..., Client]:
    """Return a function: the client of a new member of staff with these permissions (`view_idempotencykey`, …)."""

    def log_in(*permissions: str, **fields: object) -> Client:
        client = Client()
        client.force_login(member(*permissions, **fields))
        return client

    return log_in


def member(*permissions: str, **fields: object) -> User:
    """Return a new member of staff with these permissions."""
    user = UserFactory.create(is_staff=True, **fields)
    user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
    return user


@pytest.fixture
def superuser(db: None) -> User:
    return UserFactory.create(username="root", is_staff=True, is_superuser=True)


@pytest.fixture
def root(superuser: User) -> Client:
    """Return the client of somebody who may do everything."""
    client = Client()
    client.force_login(superuser)
    return client


@pytest.fixture(scope="session")
def chromium() -> Iterator["Chrome"]:
    """Return the browser."""
    with browser.started() as driver:
        yield driver


@pytest.fixture
def visitor(chromium: "Chrome", transactional_db: None, settings: Settings) -> Iterator[browser.Visitor]:
    """Return somebody at the browser, on a site with a strict policy; nothing may break it."""
    settings.MIDDLEWARE = [
        "tests.admin.browser.StrictPolicyMiddleware",
        "django.middleware.csrf.CsrfViewMiddleware",
        *settings.MIDDLEWARE,
    ]
    with browser.served() as address:
        visitor = browser.Visitor(chromium, address)
        visitor.complaints()
        yield visitor
        assert [each for each in visitor.complaints() if "favicon.ico" not in each] == []
        chromium.get("about:blank")
