"""The claims of engines that are not at hand, on engines that understand their SQL."""

from collections.abc import Iterator

import httpx
import pytest

from tests.http.conftest import SMALL_GUNICORN
from tests.http.doors import BEFORE_INNODB_GIVES_UP, Door, effects, is_in_progress, is_replay, keys, same_answer
from tests.http.test_duplicates import label_of, race
from tests.server import Server, running
from tests.threads import together

EFFECT = ["effect", "first"]
RETRY = [["effect", "retry"]]


@pytest.fixture(
    scope="module",
    params=[
        pytest.param("claim_on_mysql", marks=pytest.mark.engine("mariadb")),
        pytest.param("claim_on_any", marks=pytest.mark.engine("sqlite", "postgresql", "mariadb")),
    ],
)
def claiming_gunicorn(request: pytest.FixtureRequest, engine: str) -> Iterator[Server]:
    """Run gunicorn with this claim, whatever the engine."""
    with running((*SMALL_GUNICORN, f"--env=TEST_CLAIM={request.param}")) as server:
        yield server


@pytest.fixture
def door(transactional_db: None, claiming_gunicorn: Server) -> Iterator[Door]:
    """Return a plain view on the server with this claim."""
    yield Door(server=claiming_gunicorn, path="/http/plain/")
    claiming_gunicorn.settle()


class TestClaim:
    def test_sixteen_at_once_have_one_effect(self, door):
        responses = together([lambda: door.insist(script=[EFFECT])] * 16)

        assert effects() == ["first"]
        assert keys() == 1
        assert responses[0].status_code == 201
        assert same_answer(responses)
        assert [is_replay(response) for response in responses].count(False) == 1

    def test_rounds_without_a_pause_have_one_effect_each(self, door):
        statuses, contents = race(door, 60)

        assert effects() == [label_of(current) for current in range(60)]
        assert statuses.keys() == {201, 500}
        assert {len(content) for content in contents} == {1}

    def test_killed_worker_leaves_nothing_behind_and_retry_runs(self, door):
        with pytest.raises(httpx.RemoteProtocolError):
            door.post(script=[EFFECT, ["kill"]])

        response = door.insist(script=RETRY)

        assert response.status_code == 201
        assert not is_replay(response)
        assert effects() == ["retry"]

    def test_retry_runs_while_the_first_handler_stands_without_its_session(self, door):
        with door.held([EFFECT, ["lose_session"]]) as held:
            response = door.insist(script=RETRY)
            zombie = held.release()

        assert response.status_code == 201
        assert zombie.status_code == 500
        assert effects() == ["retry"]

    @pytest.mark.parametrize("claiming_gunicorn", ["claim_on_mysql"], indirect=True)
    @pytest.mark.engine("mariadb")
    def test_of_mysql_does_not_wait(self, door):
        with door.held([EFFECT]) as held:
            refused = together([lambda: door.post(script=RETRY, timeout=BEFORE_INNODB_GIVES_UP)] * 4)
            first = held.release()

        replay = door.post(script=RETRY)

        assert all(is_in_progress(response) for response in refused)
        assert is_replay(replay)
        assert same_answer([first, replay])
        assert effects() == ["first"]
