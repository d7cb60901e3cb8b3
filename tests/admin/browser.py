"""Debian's Chromium, driven by selenium, and a server for it in this process."""

import os
import shutil
import socket
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from django.contrib.auth.models import User
from django.contrib.staticfiles.handlers import StaticFilesHandler
from django.http import HttpRequest, HttpResponse
from django.test import Client
from django.test.testcases import LiveServerThread

from tests.gate import TIMEOUT

if TYPE_CHECKING:
    from selenium.webdriver import Chrome

CHROMIUM = shutil.which("chromium")
CHROMEDRIVER = shutil.which("chromedriver")
POLICY = "default-src 'self'"
ARGUMENTS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update", "--disable-dev-shm-usage"),
    *("--hide-scrollbars", "--force-device-scale-factor=1", "--lang=en-US", "--window-size=1280,900"),
)


def is_available() -> bool:
    """Tell whether there is a browser to test with; TEST_BROWSER says that there must be one (1), or need not (0)."""
    found = all([CHROMIUM, CHROMEDRIVER, find_spec("selenium"), find_spec("unfold")])
    return {"0": False, "1": True}.get(os.environ.get("TEST_BROWSER", ""), found)


class StrictPolicyMiddleware:
    """Forbid everything that is not a file of the site's own: inline scripts, inline styles, data URLs."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        response = self.get_response(request)
        response.headers.setdefault("Content-Security-Policy", POLICY)
        return response


@contextmanager
def started() -> Iterator["Chrome"]:
    """Start the browser with a new profile, and end it afterwards."""
    from selenium.webdriver import Chrome, ChromeOptions
    from selenium.webdriver.chrome.service import Service

    with tempfile.TemporaryDirectory(prefix="idempotency-", ignore_cleanup_errors=True) as profile:
        options = ChromeOptions()
        options.binary_location = str(CHROMIUM)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        for argument in (*ARGUMENTS, f"--user-data-dir={profile}"):
            options.add_argument(argument)
        driver = Chrome(options=options, service=Service(str(CHROMEDRIVER)))
        try:
            yield driver
        finally:
            driver.quit()


@contextmanager
def served() -> Iterator[str]:
    """Serve the site on a free port, and yield its address."""
    thread = LiveServerThread("127.0.0.1", StaticFilesHandler)
    thread.daemon = True
    thread.start()
    thread.is_ready.wait()
    try:
        if thread.error:
            raise thread.error
        yield f"http://127.0.0.1:{thread.port}"
    finally:
        thread.terminate()


def free_port() -> int:
    """Return the number of a port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


class Visitor:
    """Somebody at the browser."""

    def __init__(self, driver: "Chrome", address: str) -> None:
        self.driver = driver
        self.address = address

    def log_in(self, user: User) -> None:
        """Take on the session of *user*."""
        client = Client()
        client.force_login(user)
        self.driver.get(f"{self.address}/admin/jsi18n/")
        self.driver.delete_all_cookies()
        self.driver.add_cookie({"name": "sessionid", "value": client.cookies["sessionid"].value})

    def open(self, path: str) -> None:
        self.driver.get(f"{self.address}{path}")

    def find(self, selector: str) -> Any:
        """Return the one element that *selector* matches."""
        (element,) = self.find_all(selector)
        return element

    def find_all(self, selector: str) -> list[Any]:
        return list(self.driver.find_elements("css selector", selector))

    def text(self, selector: str = "#content") -> str:
        return str(self.find(selector).text)

    def visible(self, selector: str) -> int:
        """Return how many elements that *selector* matches can be seen."""
        return sum(element.is_displayed() for element in self.find_all(selector))

    def colour(self, selector: str, of: str) -> str:
        """Return the computed colour *of* the first element that *selector* matches: its `fill`, or its `color`."""
        style = "return getComputedStyle(document.querySelector(arguments[0]))[arguments[1]]"
        return str(self.driver.execute_script(style, selector, of))

    def click(self, selector: str) -> None:
        """Click what leads to another page, and wait until that is there."""
        self.follow(self.find(selector))

    def follow(self, element: Any) -> None:
        """Click *element*, and wait until the next page is there."""
        from selenium.webdriver.support.expected_conditions import staleness_of
        from selenium.webdriver.support.wait import WebDriverWait

        page = self.find("html")
        self.driver.execute_script("arguments[0].scrollIntoView({block: 'center'})", element)
        element.click()
        wait = WebDriverWait(self.driver, TIMEOUT)
        wait.until(staleness_of(page))
        wait.until(lambda driver: driver.execute_script("return document.readyState") == "complete")

    def prefer(self, scheme: str) -> None:
        """Prefer a `light` or a `dark` theme."""
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})

    def complaints(self) -> list[str]:
        """Return what the browser has written to its console since it was asked before."""
        return [entry["message"] for entry in self.driver.get_log("browser")]

    def photograph(self, name: str, *, height: int = 900) -> None:
        """Save what is to be seen under *name* in the directory TEST_SCREENSHOTS, if that is set."""
        if directory := os.environ.get("TEST_SCREENSHOTS"):
            self.driver.set_window_size(1500, height)
            Path(directory).mkdir(parents=True, exist_ok=True)
            self.driver.save_screenshot(str(Path(directory) / f"{name}.png"))
            self.driver.set_window_size(1280, 900)
