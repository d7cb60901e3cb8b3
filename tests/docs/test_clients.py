"""The clients that the documentation shows: each keeps one key over all retries, and retries what it should."""

import json
import subprocess
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import requests
from corsheaders.middleware import CorsMiddleware
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.test import RequestFactory, override_settings

from tests.app.models import Effect
from tests.docs.line import LOST_ANSWER, LOST_REQUEST, Line, lossy
from tests.docs.markdown import ROOT, blocks
from tests.docs.runner import run_page
from tests.gate import TIMEOUT

CLIENTS = ROOT / "docs" / "clients.md"
DATA = {"amount": "4.20", "description": "Coffee"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a recipe returned."""

    status: int
    replayed: bool
    data: Any


Recipe = Callable[[Line], Answer]


def of_httpx() -> Recipe:
    """Return the recipe for httpx."""
    # The page has two functions of that name; the first one's block is httpx's.
    [source] = [block for block in blocks(CLIENTS, "python") if "import httpx" in block.text]
    names: dict[str, Any] = {}
    exec(compile(source.source, source.path, "exec"), names)

    def create(line: Line) -> Answer:
        with httpx.Client(base_url=line.url, timeout=TIMEOUT, trust_env=False) as client:
            return read(names["create_charge"](client, DATA))

    return create


def of_requests(monkeypatch: pytest.MonkeyPatch) -> Recipe:
    """Return the recipe for requests."""
    names = run_page(CLIENTS, monkeypatch)

    def create(line: Line) -> Answer:
        with names["retrying_session"]() as session:
            session.trust_env = False
            response = names["create_charge"](session, f"{line.url}/charges/", DATA)
        return read(response)

    return create


def of_fetch(directory: Path) -> Recipe:
    """Return the recipe for fetch, run by Node."""
    [block] = blocks(CLIENTS, "javascript")
    (directory / "recipe.mjs").write_text(block.text)
    (directory / "main.mjs").write_text(
        """
        import { createCharge } from "./recipe.mjs";
        const wait = globalThis.setTimeout;
        globalThis.setTimeout = (call, pause) => wait(call, pause / 20);
        const response = await createCharge(process.argv[2], JSON.parse(process.argv[3]));
        const replayed = response.headers.get("Idempotent-Replayed") === "true";
        console.log(JSON.stringify({ status: response.status, replayed, data: await response.json() }));
        """
    )

    def create(line: Line) -> Answer:
        command = ["node", str(directory / "main.mjs"), f"{line.url}/charges/", json.dumps(DATA)]
        printed = subprocess.run(command, check=True, capture_output=True, timeout=TIMEOUT, text=True).stdout
        return Answer(**json.loads(printed))

    return create


def read(response: httpx.Response | requests.Response) -> Answer:
    """Return what a library's response says."""
    return Answer(
        status=response.status_code,
        replayed=response.headers.get("Idempotent-Replayed") == "true",
        data=response.json(),
    )


@pytest.fixture(
    params=["httpx", "requests", pytest.param("fetch", marks=pytest.mark.tool("node"))],
)
def create(request, monkeypatch, tmp_path) -> Recipe:
    """Return one recipe after the other."""
    recipes: dict[str, Callable[[], Recipe]] = {
        "httpx": of_httpx,
        "requests": lambda: of_requests(monkeypatch),
        "fetch": lambda: of_fetch(tmp_path),
    }
    return recipes[request.param]()


def effects() -> int:
    return Effect.objects.filter(label="charged").count()


class TestRecipe:
    def test_lost_answer_is_asked_for_again_with_the_same_key(self, create, server):
        with lossy(server, LOST_REQUEST, LOST_ANSWER, LOST_ANSWER) as line:
            answer = create(line)

        assert (answer.status, answer.replayed) == (201, True)
        assert len(line.keys) == 4
        assert len(set(line.keys)) == 1
        assert effects() == 1

    def test_body_is_the_same_on_each_attempt(self, create, server):
        with lossy(server, LOST_ANSWER, LOST_ANSWER) as line:
            create(line)

        assert len({sent.body for sent in line.sent}) == 1

    def test_each_operation_has_a_key_of_its_own(self, create, server):
        with lossy(server) as line:
            answers = [create(line), create(line)]

        assert len(set(line.keys)) == 2
        assert [answer.replayed for answer in answers] == [False, False]
        assert effects() == 2

    @pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504])
    def test_temporary_failure_is_tried_again(self, create, server, status):
        with lossy(server, {"status": status}) as line:
            answer = create(line)

        assert answer.status == 201
        assert len(line.keys) == 2
        assert len(set(line.keys)) == 1
        assert effects() == 1

    def test_proxy_may_tell_a_date_to_try_again(self, create, server):
        with lossy(server, {"status": 503, "headers": {"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}}) as line:
            answer = create(line)

        assert answer.status == 201
        assert len(line.keys) == 2

    @pytest.mark.engine("postgresql", "mariadb")  # On SQLite, a duplicate waits.
    def test_request_in_progress_is_tried_again(self, create, server):
        gate = server.gate()
        script = [["gate", gate.path], ["effect", "charged"]]
        with lossy(server, gate.wait, script=script) as line, ThreadPoolExecutor(1) as executor:
            answer = executor.submit(create, line)
            line.wait_in_progress()
            gate.open()

            assert answer.result().status == 201
        assert answer.result().replayed
        assert 409 in line.statuses
        assert len(set(line.keys)) == 1
        assert effects() == 1

    @pytest.mark.parametrize("status", [400, 402, 403, 404, 409, 422])
    def test_final_answer_is_returned(self, create, server, status):
        with lossy(server, {"status": status}) as line:
            answer = create(line)

        assert answer.status == status
        assert len(line.keys) == 1

    def test_gives_up(self, create, server):
        with lossy(server, *[LOST_REQUEST] * 100) as line, pytest.MonkeyPatch.context() as patch:
            patch.setattr(time, "sleep", lambda seconds: None)
            with pytest.raises((TimeoutError, requests.ConnectionError, subprocess.CalledProcessError)):
                create(line)

        assert len(set(line.keys)) == 1
        assert 8 <= len(line.keys) <= 9


def through_cors(request: HttpRequest, **settings: Any) -> HttpResponseBase:
    """Return the middleware's answer to a page on another origin."""
    with override_settings(CORS_ALLOWED_ORIGINS=["https://shop.example"], **settings):
        response = CorsMiddleware(lambda request: HttpResponse())(request)
    assert isinstance(response, HttpResponseBase)
    return response


class TestCors:
    def allowed(self, **settings: Any) -> list[str]:
        headers = {"Origin": "https://shop.example", "Access-Control-Request-Method": "POST"}
        preflight = RequestFactory().options("/charges/", headers=headers)
        return through_cors(preflight, **settings)["Access-Control-Allow-Headers"].split(", ")

    def test_defaults_lack_the_header(self):
        assert "idempotency-key" not in self.allowed()

    def test_settings_allow_the_header(self, run):
        names = run(CLIENTS)

        assert "idempotency-key" in self.allowed(CORS_ALLOW_HEADERS=names["CORS_ALLOW_HEADERS"])

    def test_settings_expose_the_answers_headers(self, run):
        names = run(CLIENTS)
        request = RequestFactory().post("/charges/", headers={"Origin": "https://shop.example"})

        response = through_cors(request, CORS_EXPOSE_HEADERS=names["CORS_EXPOSE_HEADERS"])

        assert response["Access-Control-Expose-Headers"] == "idempotent-replayed, retry-after"
