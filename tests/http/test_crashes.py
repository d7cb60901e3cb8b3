"""What dies, when; and what the client's retry then gets."""

from functools import partial

import httpx
import pytest

from tests.http import raw
from tests.http.doors import doors, effects, is_replay, keys, same_answer
from tests.threads import together

EFFECT = ["effect", "first"]
RETRY = [["effect", "retry"]]
TRANSACTIONAL = doors("plain", "mixin", "async", "atomic-plain", "atomic-mixin")


class TestKilledWorker:
    @TRANSACTIONAL
    def test_leaves_nothing_behind_and_retry_runs(self, door):
        with pytest.raises(httpx.RemoteProtocolError):
            door.post(script=[EFFECT, ["kill"]])

        response = door.insist(script=RETRY)

        assert response.status_code == 201
        assert not is_replay(response)
        assert effects() == ["retry"]
        assert keys() == 1

    @doors("plain")
    def test_lets_one_of_many_retries_run(self, door):
        with door.held([EFFECT]) as held:
            door.server.kill_worker(held.visitor.pid)
            held.visitor.wait_gone()
            responses = together([lambda: door.insist(script=RETRY)] * 8)

        assert isinstance(held.answer.exception(), httpx.RemoteProtocolError)
        assert effects() == ["retry"]
        assert same_answer(responses)
        assert responses[0].status_code == 201

    @doors("plain", "mixin", "atomic-plain")
    def test_after_commit_keeps_the_answer_for_the_retry(self, door):
        with pytest.raises(httpx.RemoteProtocolError):
            door.post(script=[EFFECT, ["kill_on_commit"], ["respond", "done", {"status": 202}]])

        response = door.post(script=RETRY)

        assert (response.status_code, response.text) == (202, "done")
        assert is_replay(response)
        assert effects() == ["first"]


class TestLostSession:
    @TRANSACTIONAL
    def test_retry_runs_while_the_first_handler_still_stands(self, door):
        with door.held([EFFECT, ["lose_session"]], [["effect", "zombie"]]) as held:
            response = door.insist(script=RETRY)
            zombie = held.release()

        assert response.status_code == 201
        assert not is_replay(response)
        assert zombie.status_code == 500
        assert effects() == ["retry"]
        assert keys() == 1

    @TRANSACTIONAL
    def test_handler_that_does_not_notice_is_not_remembered(self, door):
        first = door.post(script=[EFFECT, ["lose_session"]])

        response = door.insist(script=RETRY)

        assert first.status_code == 500
        assert response.status_code == 201
        assert not is_replay(response)
        assert effects() == ["retry"]

    @doors("plain", "mixin", "async")
    def test_commit_that_fails_is_not_remembered(self, door):
        first = door.post(script=[EFFECT, ["doom_commit"]])

        response = door.insist(script=RETRY)

        assert first.status_code == 500
        assert response.status_code == 201
        assert not is_replay(response)
        assert effects() == ["retry"]

    @doors("plain", "async", "atomic-mixin")
    def test_later_requests_of_the_same_workers_are_well(self, door):
        together([lambda: door.post(script=[EFFECT, ["lose_session"]])] * 16)

        responses = together([partial(door.insist, key, script=[["effect", key]]) for key in "abcdefghijklmnop" * 2])

        assert {response.status_code for response in responses} == {201}
        assert effects() == list("abcdefghijklmnop")


class TestLostAnswer:
    @doors("plain", "mixin", "plain-on-asgi", "atomic-mixin")
    def test_retry_gets_it(self, door):
        for key, abruptly in (("a", False), ("b", True)):
            gate = door.server.gate()
            script = [["effect", key], ["gate", gate.path], ["respond", "done", {"status": 202}]]
            connection = raw.send(door.server, door.path_of(1), b"Idempotency-Key: %b" % key.encode(), script=script)
            gate.wait()
            raw.hang_up(connection, abruptly=abruptly)
            gate.open()
        door.server.wait_idle()

        responses = [door.post(key, script=RETRY) for key in ("a", "a", "b", "b")]

        assert {(response.status_code, response.text) for response in responses} == {(202, "done")}
        assert all(is_replay(response) for response in responses)
        assert effects() == ["a", "b"]


class TestFailedHandler:
    @pytest.mark.parametrize(("step", "status"), [(["raise"], 500), (["respond", "", {"status": 503}], 503)])
    @doors("plain", "mixin", "async", "atomic-plain")
    def test_leaves_nothing_behind_and_retry_runs(self, door, step, status):
        first = door.post(script=[EFFECT, step])

        response = door.post(script=RETRY)

        assert first.status_code == status
        assert response.status_code == 201
        assert not is_replay(response)
        assert effects() == ["retry"]
