"""The example project's server: its metrics, its specification and the page that shows it."""

import json
import os
import re
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urljoin, urlsplit

import httpx
import pytest
from openapi_spec_validator import validate
from prometheus_client.parser import text_string_to_metric_families

from example_project.demo.server import Server
from tests.gate import TIMEOUT
from tests.server import ROOT
from tests.threads import together

# It is one server for all engines; what they do differently is tested elsewhere.
pytestmark = pytest.mark.engine("sqlite")

PREPARE = """
import json, django
django.setup()
from django.core.management import call_command
from example_project.demo.people import make_customers, open_accounts
call_command("migrate", verbosity=0)
customer, account = make_customers()[0], open_accounts("tests")[0]
print(json.dumps([customer.token, account.pk]))
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """A server of several processes, and a customer's means."""

    client: httpx.Client
    directory: Path
    account: int

    def charge(self, key: str, amount: int = 1) -> httpx.Response:
        return self.client.post(
            "/charges/",
            json={"account": self.account, "amount": amount, "description": "Coffee"},
            headers={"Idempotency-Key": key},
        )


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Example]:
    directory = tmp_path_factory.mktemp("example")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DATABASE_URL", f"sqlite:///{directory}/db.sqlite3")
        patch.setenv("DJANGO_SETTINGS_MODULE", "example_project.settings")
        patch.setattr("example_project.demo.server.settings", type("Settings", (), {"BASE_DIR": ROOT}))
        prepared = subprocess.run(
            [sys.executable, "-c", PREPARE], cwd=ROOT, check=True, capture_output=True, text=True, env=os.environ
        )
        token, account = json.loads(prepared.stdout)
        with socket.create_server(("127.0.0.1", 0)) as probe:
            port = probe.getsockname()[1]
        with (
            Server(port=port, workers=3, directory=directory) as server,
            httpx.Client(
                base_url=server.url,
                headers={"Authorization": f"Token {token}"},
                # A connection of its own for each request: any process may take it.
                limits=httpx.Limits(max_keepalive_connections=0),
                timeout=TIMEOUT,
                trust_env=False,
            ) as client,
        ):
            yield Example(client=client, directory=directory, account=account)


def counts(example: Example) -> Counter[tuple[str, str]]:
    """Scrape the counters by their labels."""
    response = example.client.get("/metrics")
    assert response.headers["Content-Type"].startswith("text/plain")
    families = text_string_to_metric_families(response.text)
    samples = [sample for family in families for sample in family.samples]
    values = Counter({("handlers", ""): 0})
    for sample in samples:
        if sample.name == "idempotency_operations_total":
            values[sample.labels["outcome"], sample.labels["code"]] = int(sample.value)
        elif sample.name == "idempotency_handler_seconds_count":
            values["handlers", ""] = int(sample.value)
    return values


class TestMetrics:
    def test_scrape_adds_up_all_processes(self, example):
        def send(number: int) -> Callable[[], list[int]]:
            key = f"key-{number}"
            return lambda: [
                example.charge(key).status_code,
                example.charge(key).status_code,
                example.charge(key, amount=2).status_code,
                example.charge("a b").status_code,
            ]

        before = counts(example)

        answers = together([send(number) for number in range(24)])

        assert answers == [[201, 201, 409, 400]] * 24
        # The processes have files of their own; whichever answers, it tells the sum.
        assert len(list((example.directory / "metrics").glob("counter_*.db"))) > 1
        for _ in range(12):
            assert counts(example) - before == {
                ("executed", ""): 24,
                ("replayed", ""): 24,
                ("refused", "idempotency_key_reused"): 24,
                ("refused", "idempotency_key_invalid"): 24,
                ("handlers", ""): 24,
            }

    def test_nothing_of_a_request_is_told(self, example):
        example.charge("very-secret-key")

        text = example.client.get("/metrics").text
        assert "idempotency_handler_seconds_bucket" in text
        assert not re.search("secret|charges|Coffee|user", text)


class TestSpecification:
    def test_schema_is_valid_and_tells_of_keys(self, example):
        schema = example.client.get("/schema/", headers={"Accept": "application/json"}).json()

        validate(schema)
        guarded = {
            address
            for address, operations in schema["paths"].items()
            for parameter in operations.get("post", {}).get("parameters", [])
            if parameter["name"] == "Idempotency-Key"
        }
        assert guarded == {"/charges/", "/orders/", "/shop/checkouts/", "/shop/checkouts/wires/"}

    def test_page_is_made_of_local_files(self, example):
        page = example.client.get("/docs/")

        addresses = re.findall(r"""(?:src|href|url)\s*[=:]\s*["']([^"']+)["']""", page.text)
        assert len(addresses) >= 4
        assert {urlsplit(address).netloc for address in addresses} == {""}
        for address in addresses:
            assert example.client.get(urljoin("/docs/", address)).status_code == 200
        assert "//cdn" not in page.text

    def test_command_makes_it_without_a_warning(self):
        self.run("spectacular", "--validate", "--fail-on-warn", "--file", os.devnull)

    def test_no_view_lacks_keys(self):
        self.run("idempotency_endpoints", "--check", "--exempt", "admin", "--exempt", "/static/")

    def run(self, *command: str) -> None:
        environment = {**os.environ, "DJANGO_SETTINGS_MODULE": "example_project.settings"}
        subprocess.run([sys.executable, "manage.py", *command], cwd=ROOT, check=True, env=environment)
