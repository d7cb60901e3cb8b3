"""A second request while the first one still runs: refused at once, or made to wait."""

from concurrent.futures import Future, ThreadPoolExecutor

import httpx
import pytest

from tests.http import sessions
from tests.http.doors import BEFORE_INNODB_GIVES_UP, doors, effects, is_in_progress, is_replay, same_answer
from tests.threads import together

EFFECT = ["effect", "first"]
RETRY = [["effect", "retry"]]


class TestInProgress:
    @pytest.mark.engine("postgresql", "mariadb")
    @doors("plain", "class", "api-view", "method", "action", "mixin", "async", "atomic-plain", "atomic-mixin")
    def test_duplicates_are_refused_while_the_first_runs(self, door):
        with door.held([EFFECT]) as held:
            refused = together([lambda: door.post(script=RETRY, timeout=BEFORE_INNODB_GIVES_UP)] * 4)
            first = held.release()

        replay = door.post(script=RETRY)

        assert {response.status_code for response in refused} == {409}
        assert {response.headers["Retry-After"] for response in refused} == {"1"}
        assert not any(is_replay(response) for response in refused)
        assert is_replay(replay)
        assert same_answer([first, replay])
        assert effects() == ["first"]

    @pytest.mark.engine("postgresql", "mariadb")
    @doors("plain", "async")
    def test_other_operations_go_on(self, door):
        with door.held([EFFECT]):
            other_key = door.post("other", script=[["effect", "other"]])
            no_key = door.post(None, script=[["effect", "without"]])

        assert (other_key.status_code, no_key.status_code) == (201, 201)
        assert effects() == ["first", "other", "without"]

    @pytest.mark.engine("postgresql", "mariadb")
    @doors("plain")
    def test_reused_key_is_refused_once_the_first_is_done(self, door):
        with door.held([EFFECT]) as held:
            during = door.post(number=2, script=RETRY)
            held.release()

        after = door.post(number=2, script=RETRY)

        assert is_in_progress(during)
        assert after.json()["code"] == "idempotency_key_reused"
        assert effects() == ["first"]


class TestWait:
    @doors("plain-wait", "mixin-wait", "async-wait")
    def test_duplicates_get_the_first_answer(self, door):
        with ThreadPoolExecutor() as executor, door.held([EFFECT]) as held:
            waiters = [executor.submit(door.post, script=RETRY) for _ in range(3)]
            first = held.release()
            responses = [waiter.result() for waiter in waiters]

        assert first.status_code == 201
        assert same_answer([first, *responses])
        assert all(is_replay(response) for response in responses)
        assert effects() == ["first"]

    @pytest.mark.engine("postgresql")
    @doors("plain-wait", "mixin-wait", "async-wait")
    def test_holds_no_transaction(self, door):
        with ThreadPoolExecutor(1) as executor, door.held([EFFECT]) as held:
            first_alone = sessions.in_transaction()
            waiter: Future[httpx.Response] = executor.submit(door.post, script=RETRY)
            sessions.wait_for_rests(3)
            while_waiting = waiter.done()
            first = held.release()
            response = waiter.result()

        assert len(first_alone) == 1
        assert not while_waiting
        assert is_replay(response)
        assert same_answer([first, response])

    @doors("plain-wait", "mixin-wait", "async-wait")
    def test_duplicate_runs_if_the_first_fails(self, door):
        with ThreadPoolExecutor(1) as executor, door.held([EFFECT], [["raise"]]) as held:
            waiter = executor.submit(door.post, script=RETRY)
            first = held.release()
            response = waiter.result()

        assert first.status_code == 500
        assert response.status_code == 201
        assert effects() == ["retry"]

    @pytest.mark.engine("postgresql", "mariadb")
    @doors("plain-short-wait")
    def test_ends(self, door):
        with door.held([EFFECT]) as held:
            response = door.post(script=RETRY)
            first = held.release()

        assert is_in_progress(response)
        assert first.status_code == 201
        assert effects() == ["first"]
