"""The admin in a real browser, under `Content-Security-Policy: default-src 'self'`.

With TEST_SCREENSHOTS=docs/images the pictures of the documentation are taken anew.
"""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import User
from django.utils import timezone

from django_idempotency import journal
from django_idempotency.models import IdempotencyKey
from tests.admin import traffic
from tests.admin.browser import Visitor, free_port
from tests.admin.conftest import LIST, member
from tests.admin.test_steps import break_operation
from tests.factories import UserFactory
from tests.gate import TIMEOUT
from tests.server import environment
from tests.steps.stepping import key_of, run_of

RESULTS = "#result_list tbody tr"
VIEW = "view_idempotencykey"


@pytest.fixture
def users(transactional_db: None) -> list[User]:
    return [UserFactory.create(username=name) for name in ("alice", "bob", "carol")]


@pytest.fixture
def rows(users: list[User]) -> list[IdempotencyKey]:
    """Return the keys, the last to expire first."""
    return sorted(traffic.generate(timezone.now(), users), key=lambda row: row.expires, reverse=True)


def with_json(rows: list[IdempotencyKey], user: User) -> IdempotencyKey:
    """Return a key of *user*'s with a stored JSON response."""
    return next(
        row
        for row in rows[10:]
        if (row.scope, row.status, row.method) == (f"user:{user.pk}", 201, "POST") and row.body and row.body[:1] == b"{"
    )


class TestBrowser:
    @pytest.fixture
    def root(self, visitor: Visitor) -> Visitor:
        visitor.log_in(UserFactory.create(username="root", is_staff=True, is_superuser=True))
        return visitor

    @pytest.mark.parametrize("scheme", ["light", "dark"])
    def test_list(self, root, rows, scheme):
        root.prefer(scheme)
        root.open(LIST)

        assert len(root.find_all(RESULTS)) == 25
        assert "The first 1000 are listed." in root.text()
        assert root.visible(".idempotency-chart > svg") == 2
        assert root.colour(".idempotency-axis text", "fill") == root.colour("body", "color")
        root.photograph(f"admin-list-{scheme}", height=1000)

    def test_bars_can_be_pointed_at_and_told_apart(self, root, rows):
        root.open(LIST)

        colours = {root.colour(f".idempotency-bar .idempotency-{css}", "fill") for css in ("2xx", "3xx", "4xx", "5xx")}
        assert len(colours) == 4
        assert root.find_all(".idempotency-bar > title")[-1].get_attribute("textContent").count("key") == 1

    def test_numbers_of_the_drawing_can_be_opened(self, root, rows):
        root.open(LIST)
        table = root.find_all(".idempotency-chart table")[0]
        assert not table.is_displayed()

        root.find_all(".idempotency-chart summary")[0].click()

        assert table.is_displayed()

    def test_search(self, root, rows, users):
        row = with_json(rows, users[0])
        root.open(LIST)
        root.find("#searchbar").send_keys(row.key)

        root.click("#changelist-search [type=submit]")

        assert len(root.find_all(RESULTS)) == 1
        assert root.text(f"{RESULTS} .field-owner a") == "alice"
        root.click(f"{RESULTS} th a")
        assert row.key in root.text()

    def test_search_for_a_user(self, root, rows, users):
        root.prefer("light")
        root.open(f"{LIST}?q=bob")

        assert {link.text for link in root.find_all(".field-owner a")} == {"bob"}

    def test_filter(self, root, rows):
        root.open(LIST)

        root.follow(root.find("#changelist-filter").find_element("link text", "4xx"))

        answers = {cell.text for cell in root.find_all(".field-answer")}
        assert answers == {"402", "404"}

    def test_further_back(self, root, rows):
        root.open(LIST)
        first = [link.text for link in root.find_all(f"{RESULTS} th a")]

        root.follow(root.find(".idempotency-note").find_element("link text", "Look further back"))

        assert not set(first) & {link.text for link in root.find_all(f"{RESULTS} th a")}
        root.follow(root.find(".idempotency-note").find_element("link text", "Back to the latest"))
        assert [link.text for link in root.find_all(f"{RESULTS} th a")] == first

    @pytest.mark.parametrize("scheme", ["light", "dark"])
    def test_key(self, root, rows, users, scheme):
        row = with_json(rows, users[0])
        root.prefer(scheme)

        root.open(f"{LIST}{row.pk}/change/")

        assert json.loads(root.text("pre")) == json.loads(bytes(row.body or b""))
        assert "Content-Type" in root.text()
        assert "Other keys of this scope" in root.text()
        root.photograph(f"admin-key-{scheme}", height=1350)

    def test_binary_response(self, root, rows):
        row = next(row for row in rows if row.body == traffic.BINARY)

        root.open(f"{LIST}{row.pk}/change/")

        assert "1.0 KB of binary data" in root.text()
        assert root.text("pre").startswith("00000000  00 01 02 03")

    def test_action_on_one_key_asks_and_then_does_it(self, root, rows, users):
        row = with_json(rows, users[0])
        root.prefer("light")
        root.open(f"{LIST}{row.pk}/change/")

        root.click("a[href='../expire/']")
        assert "it runs, and takes effect once more" in root.text()
        root.photograph("admin-confirmation", height=480)
        root.click(".idempotency-actions a")
        assert not LogEntry.objects.exists()
        root.click("a[href='../expire/']")
        root.click(".idempotency-actions input")

        assert root.text(".messagelist") == "1 key has expired. Its request may run again."
        assert "Expired by hand." in root.text()
        row.refresh_from_db()
        assert row.expires <= timezone.now()

    def test_action_on_several_keys_of_the_list(self, root, rows):
        root.open(f"{LIST}?state=completed")
        for box in root.find_all(".action-select")[:3]:
            box.click()
        root.find("select[name=action]").find_element("css selector", "[value=erase]").click()

        root.click("button[name=index]")
        assert len(root.find_all(".idempotency-keys tbody tr")) == 3
        root.click(".idempotency-actions input")

        assert root.text(".messagelist") == "The stored responses of 3 keys are erased."
        assert LogEntry.objects.count() == 3
        root.open(f"{LIST}{LogEntry.objects.all()[0].object_id}/change/")
        assert "None is stored." in root.text()

    def test_without_the_permissions(self, visitor, rows, users):
        row = with_json(rows, users[0])
        visitor.prefer("light")
        visitor.log_in(member(VIEW, username="dave"))
        visitor.open(LIST)
        assert not visitor.find_all("select[name=action]")
        assert not visitor.find_all(".field-owner a")

        visitor.open(f"{LIST}{row.pk}/change/")

        assert "You have no permission to see stored responses." in visitor.text()
        assert "Espresso" not in visitor.driver.page_source
        assert not visitor.find_all(".idempotency-actions")
        visitor.photograph("admin-without-permission", height=1000)

    def test_policy_is_strict(self, visitor):
        visitor.open("/admin/login/")
        visitor.driver.execute_script("document.body.innerHTML = '<p style=\"color: red\">red</p>'")

        assert any("Content Security Policy" in complaint for complaint in visitor.complaints())


class TestOperationOfSteps:
    @pytest.fixture
    def root(self, visitor: Visitor) -> Visitor:
        visitor.log_in(UserFactory.create(username="root", is_staff=True, is_superuser=True))
        return visitor

    @pytest.mark.parametrize("scheme", ["light", "dark"])
    def test_uncertain_call_is_found_and_settled(self, root, scheme):
        break_operation()
        root.prefer(scheme)

        root.open(f"{LIST}?state=uncertain")
        root.click(f"a[href*='{key_of().pk}']")
        assert root.visible("section[aria-labelledby=idempotency-steps] tbody tr") == 2
        root.click("a[href*='/settle/']")
        assert journal.child_key(run_of().pk, "charge") in root.text()
        root.find("#id_outcome_0").click()
        root.find("#id_result").send_keys('{"id": 1}')
        root.click("input[value='Record it']")

        assert "It is recorded." in root.driver.page_source
        assert "Settled: “charge” has happened." in root.text()
        assert not root.find_all("a[href*='/settle/']")


@pytest.fixture(scope="module")
def unfold(engine: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Serve the site in unfold's theme, and yield its address: unfold takes the place of the admin when it starts."""
    directory = tmp_path_factory.mktemp("unfold")
    address = f"127.0.0.1:{free_port()}"
    command = ["runserver", "--insecure", "--noreload", "--settings=tests.admin.unfold_settings", address]
    with (directory / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "django", *command],
            env=environment(directory / "lock"),
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        try:
            wait_for(f"http://{address}/admin/login/", process)
            yield f"http://{address}"
        finally:
            process.terminate()
            process.wait()


class TestUnfold:
    """The same pages in the theme of django-unfold, which does not work under a strict policy itself."""

    @pytest.fixture
    def root(self, chromium: Any, transactional_db: None, unfold: str) -> Iterator[Visitor]:
        visitor = Visitor(chromium, unfold)
        visitor.log_in(UserFactory.create(username="root", is_staff=True, is_superuser=True))
        yield visitor
        chromium.get("about:blank")

    @pytest.mark.parametrize("scheme", ["light", "dark"])
    @pytest.mark.parametrize("site", ["admin", "styled"])
    def test_pages(self, root, rows, site, scheme):
        root.prefer(scheme)
        alice = User.objects.get(username="alice")
        row = with_json(rows, alice)
        pages = f"/{site}/django_idempotency/idempotencykey/"

        root.open(pages)
        assert root.visible(".idempotency-chart > svg") == 2
        assert root.colour(".idempotency-axis text", "fill") == root.colour(".idempotency-chart", "color")
        assert f"/{site}/auth/user/{alice.pk}/change/" in root.driver.page_source
        if (site, scheme) == ("styled", "dark"):
            root.photograph("admin-unfold-dark", height=1000)
        root.open(f"{pages}?q={row.key}")
        root.click(f"a[href*='{row.pk}']")
        assert "Espresso" in root.text()
        root.click("a[href='../expire/']")
        assert "it runs, and takes effect once more" in root.text()
        root.click(".idempotency-actions input")

        assert "1 key has expired." in root.driver.page_source
        assert "Expired by hand." in root.text()


def wait_for(url: str, process: "subprocess.Popen[Any]") -> None:
    """Return when there is an answer."""
    deadline = time.monotonic() + TIMEOUT
    while True:
        try:
            with urlopen(url):
                return
        except URLError:
            if process.poll() is not None or time.monotonic() > deadline:
                raise
            time.sleep(0.1)
