"""On real servers whose receivers raise, requests are answered as if they did not."""

import pytest

from tests.app.models import Effect
from tests.operations import expire_keys
from tests.server import GUNICORN, UVICORN, running

COMMANDS = {
    "gunicorn": ("gunicorn", "tests.spec.failing:wsgi_application", *GUNICORN[2:]),
    "uvicorn": ("uvicorn", "tests.spec.failing:asgi_application", *UVICORN[2:]),
}


@pytest.fixture(scope="module", params=COMMANDS)
def failing(request, engine):
    with running(COMMANDS[request.param]) as server:
        yield server


@pytest.fixture
def server(failing, transactional_db):
    yield failing
    failing.settle()


@pytest.mark.parametrize("path", ["/keyed/", "/keyed-async/", "/keyed-drf/"])
class TestFailingReceiver:
    def test_request_is_answered_and_takes_effect(self, server, path):
        before = len(server.log.read_text())

        response = server.post(path, key="a", script=[["effect", "a"]])

        assert response.status_code == 201
        assert Effect.objects.count() == 1
        assert server.log.read_text()[before:].count("ReceiverError\n") >= 2  # Both kinds of receivers were called.

    def test_retry_replays(self, server, path):
        first = server.post(path, key="a", script=[["effect", "a"]])

        second = server.post(path, key="a", script=[["effect", "b"]])

        assert second.headers["Idempotent-Replayed"] == "true"
        assert second.content == first.content
        assert Effect.objects.count() == 1

    def test_refusal_is_answered(self, server, path):
        server.post(path, key="a", content=b"a")

        assert server.post(path, key="a", content=b"b").status_code == 409
        assert server.post(path, key="a b").status_code == 400

    def test_expired_key_runs_again(self, server, path):
        server.post(path, key="a", script=[["effect", "a"]])
        expire_keys()

        response = server.post(path, key="a", script=[["effect", "b"]])

        assert response.status_code == 201
        assert Effect.objects.count() == 2
