"""Many requests with one key, at once."""

from collections import Counter
from functools import partial
from threading import Barrier

import pytest

from tests.gate import TIMEOUT
from tests.http.doors import DOORS, Door, doors, effects, is_replay, keys, same_answer
from tests.threads import together

CLIENTS = 4


def label_of(number: int) -> str:
    return f"{number:04}"


def race(door: Door, rounds: int) -> tuple[Counter[int], list[set[bytes]]]:
    """Let all clients send one key at the same moment, *rounds* times, and never pause.

    Two of five of the first tries raise after their write. Returns how often they were answered with which status,
    and the different contents of all the later answers, round by round.
    """
    barrier = Barrier(CLIENTS, timeout=TIMEOUT)

    def client(number: int) -> tuple[list[int], list[set[bytes]]]:
        statuses, contents = [], []
        for current in range(rounds):
            label = label_of(current)
            effect = ["effect", label]
            barrier.wait()
            first = door.insist(label, script=[effect, ["raise"]] if (number + current) % 5 < 2 else [effect])
            second = door.insist(label, script=[effect])
            statuses.append(first.status_code)
            contents.append({response.content for response in (first, second) if response.status_code == 201})
        return statuses, contents

    results = together([partial(client, number) for number in range(CLIENTS)])
    statuses = Counter(status for statuses, _ in results for status in statuses)
    return statuses, [set.union(*contents) for contents in zip(*(contents for _, contents in results), strict=True)]


class TestDuplicates:
    @doors(*DOORS)
    def test_sixteen_at_once_have_one_effect(self, door):
        responses = together([lambda: door.insist(script=[["effect", "a"]])] * 16)

        assert effects() == ["a"]
        assert keys() == 1
        assert responses[0].status_code == 201
        assert same_answer(responses)
        assert Counter(is_replay(response) for response in responses) == {False: 1, True: 15}

    @pytest.mark.parametrize(("door", "rounds"), [("plain", 200), ("mixin", 80), ("async", 40)], indirect=["door"])
    def test_hundreds_of_rounds_without_a_pause_have_one_effect_each(self, door, rounds):
        statuses, contents = race(door, rounds)

        assert effects() == [label_of(current) for current in range(rounds)]
        assert keys() == rounds
        assert statuses.keys() == {201, 500}
        assert {len(content) for content in contents} == {1}
