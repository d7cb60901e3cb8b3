"""Clients that go away while a coroutine awaits: Django cancels it, wherever it is."""

from functools import partial

import pytest

from tests.http import raw, sessions
from tests.http.doors import doors, effects, is_replay, keys
from tests.threads import together

EFFECT = ["effect", "first"]
RETRY = [["effect", "retry"]]
MANY = 8


def send(door, key, script):
    return raw.send(door.server, door.path_of(1), b"Idempotency-Key: %b" % key.encode(), script=script)


def hang_up_many(door, count=list):
    """Let many clients go away whose handlers all await; return what *count* returned before."""
    gate = door.server.gate()
    connections = [send(door, f"{number}", [EFFECT, ["gate", gate.path]]) for number in range(MANY)]
    visitors = [gate.wait() for _ in connections]
    before = count()
    together([partial(raw.hang_up, connection) for connection in connections])
    for visitor in visitors:
        visitor.wait_gone()
    door.server.wait_idle()
    return before


class TestDisconnect:
    @doors("async", "async-bare")
    def test_leaves_nothing_behind_and_retry_runs(self, door):
        for key, abruptly in (("a", False), ("b", True)):
            gate = door.server.gate()
            connection = send(door, key, [EFFECT, ["gate", gate.path], ["effect", "zombie"]])
            visitor = gate.wait()
            raw.hang_up(connection, abruptly=abruptly)
            visitor.wait_gone()

        retries = [door.insist(key, script=[["effect", key]]) for key in ("a", "b")]

        assert [retry.status_code for retry in retries] == [201, 201]
        assert not any(is_replay(retry) for retry in retries)
        assert effects() == ["a", "b"]
        assert keys() == 2

    @pytest.mark.engine("postgresql", "mariadb")
    @doors("async", "async-bare")
    def test_of_many_leaves_no_lock(self, door):
        hang_up_many(door)

        responses = [door.post(f"{number}", script=RETRY) for number in range(MANY)]

        assert {response.status_code for response in responses} == {201}
        assert not any(is_replay(response) for response in responses)
        assert effects() == ["retry"] * MANY

    @pytest.mark.engine("postgresql")
    @doors("async", "async-bare")
    def test_of_many_leaves_no_transaction_open(self, door):
        before = hang_up_many(door, count=sessions.in_transaction)

        assert len(before) == MANY
        assert sessions.in_transaction() == []
        assert effects() == []
        assert keys() == 0

    @doors("async", "async-bare")
    def test_leaks_nothing_into_later_requests(self, door):
        gate = door.server.gate()
        for number in range(8):
            connection = send(door, f"lost-{number}", [["effect", "lost"], ["gate", gate.path]])
            visitor = gate.wait()
            raw.hang_up(connection)
            visitor.wait_gone()

            keyed = door.post(f"{number}", script=[["effect", f"keyed-{number}"]])
            bare = door.server.post("/scripted/", script=[["effect", f"bare-{number}"]])
            assert (keyed.status_code, bare.status_code) == (201, 201)

        assert effects() == sorted(f"{kind}-{number}" for number in range(8) for kind in ("keyed", "bare"))
        assert keys() == 8

    @doors("async", "async-bare", "plain-on-asgi")
    def test_at_any_moment_leaves_one_effect_after_a_retry(self, door):
        labels = [f"{number:02}" for number in range(40)]

        def client(mine: list[str]) -> set[int]:
            statuses = set()
            for label in mine:
                raw.hang_up(send(door, label, [["effect", label]] * 3), abruptly=int(label) % 2 == 0)
                statuses.add(door.insist(label, script=[["effect", label]] * 3).status_code)
            return statuses

        statuses = together([partial(client, labels[first::8]) for first in range(8)])

        assert set.union(*statuses) == {201}
        assert effects() == sorted(labels * 3)
        assert keys() == 40
