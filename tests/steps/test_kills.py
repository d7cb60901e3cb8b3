"""A worker is killed at each point of an operation; then somebody goes on."""

import time
from typing import Any

import httpx
import pytest

from django_idempotency.models import IdempotentRun, IdempotentStep
from django_idempotency.resume import Resumed, resume
from tests.app.stepped import ABORT_POINTS, POINTS
from tests.gate import TIMEOUT
from tests.operations import labels
from tests.steps.stepping import run_out_leases

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "other"])

PATH = "/stepped/"
DECLINED = "/stepped/?decline=1"


def die(server: Any, point: str, path: str = PATH, **headers: str) -> None:
    """Send a request that kills its worker at the *point*."""
    with pytest.raises(httpx.RemoteProtocolError):
        server.post(path, key="1", headers={"X-Kill": point, **headers})


def insist(server: Any, path: str = PATH, **headers: str) -> httpx.Response:
    """Send the request until it is not in progress any more: the dead worker's session may take a moment to end."""
    deadline = time.monotonic() + TIMEOUT
    while True:
        response: httpx.Response = server.post(path, key="1", headers=headers)
        if response.status_code != 409 or "in_progress" not in response.text:
            return response
        assert time.monotonic() < deadline
        time.sleep(0.02)


def called(kind: str) -> list[str]:
    """Return the keys with which the other system was called."""
    return [label.split()[1] for label in labels("other") if label.startswith(kind)]


@pytest.mark.parametrize("point", POINTS)
class TestKilledWorker:
    def test_retry_goes_on(self, server, point):
        die(server, point)
        assert server.post(PATH, key="1").status_code == 409
        run_out_leases()

        response = insist(server)

        assert response.status_code == 201
        assert "Idempotent-Replayed" not in response.headers
        assert labels() == ["order", "confirm"]
        assert set(called("charge")) == {response.json()["charged"]}
        assert insist(server).content == response.content

    def test_operation_is_resumed(self, server, point):
        die(server, point)
        run_out_leases()

        deadline = time.monotonic() + TIMEOUT
        while resume() != Resumed(ended=1):
            assert time.monotonic() < deadline
            time.sleep(0.02)

        assert labels() == ["order", "confirm"]
        assert len(set(called("charge"))) == 1
        response = server.post(PATH, key="1")
        assert response.status_code == 201
        assert response.headers["Idempotent-Replayed"] == "true"

    def test_with_hold_nothing_is_charged_twice_and_what_is_uncertain_is_listed(self, server, point):
        die(server, point, **{"X-Hold": "1"})
        run_out_leases()

        responses = [insist(server, **{"X-Hold": "1"}) for _ in range(2)]

        is_uncertain = point in {"before the call", "after the call"}
        assert {response.status_code for response in responses} == {409 if is_uncertain else 201}
        assert len(called("charge")) == (0 if point == "before the call" else 1)
        assert IdempotentRun.objects.uncertain().count() == int(is_uncertain)
        assert IdempotentStep.objects.uncertain().count() == int(is_uncertain)


@pytest.mark.parametrize("point", ABORT_POINTS)
class TestKilledAbort:
    def test_retry_undoes_the_rest(self, server, point):
        die(server, point, DECLINED)
        run_out_leases()

        response = insist(server, DECLINED)

        assert response.status_code == 402
        assert labels() == ["order", "cancel"]
        assert len(called("charge")) == 1
        assert len(set(called("refund"))) == 1
        assert insist(server, DECLINED).content == response.content
