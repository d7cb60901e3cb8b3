"""The key's header as it arrives, by hand where a client library would not send it."""

import pytest

from tests.http import raw
from tests.http.doors import doors, effects, is_replay, keys

SCRIPT = [["effect", "a"]]

MALFORMED = {
    "blank": b"",
    "space": b"  ",
    "quoted-blank": b'""',
    "too-long": b"k" * 256,
    "quoted-too-long": b'"%b"' % (b"k" * 256),
    "space-inside": b"one two",
    "tab-inside": b"one\ttwo",
    "control": b"one\x01two",
    "delete": b"one\x7ftwo",
    "null": b"one\x00two",
    "latin-1": b"k\xe9y",
    "utf-8": "schlüssel".encode(),
    "half-quoted": b'"one',
    "quote-inside": b'one"two',
    "bad-escape": b'"one\\two"',
    "list": b"one, two",
    "quoted-list": b'"one", "two"',
}


class TestMalformedKey:
    @doors("plain", "mixin", "async", "plain-on-asgi")
    def test_is_refused_and_nothing_runs(self, door):
        answers = {
            name: raw.exchange(door.server, door.path_of(1), b"Idempotency-Key: %b" % value, script=SCRIPT)
            for name, value in MALFORMED.items()
        }

        assert {name: answer.status for name, answer in answers.items()} == dict.fromkeys(MALFORMED, 400)
        assert effects() == []
        assert keys() == 0

    @pytest.mark.parametrize(
        "values",
        [[b"one", b"two"], [b"one", b"one"], [b'"one"', b'"one"'], [b"one", b""]],
        ids=["different", "equal", "quoted", "blank"],
    )
    @doors("plain", "mixin-on-asgi")
    def test_repeated_line_is_refused(self, door, values):
        lines = [b"Idempotency-Key: %b" % value for value in values]

        answer = raw.exchange(door.server, door.path_of(1), *lines, script=SCRIPT)

        assert answer.status == 400
        assert effects() == []
        assert keys() == 0

    @doors("plain", "async")
    def test_is_told_so(self, door):
        answer = raw.exchange(door.server, door.path_of(1), b"Idempotency-Key: ", script=SCRIPT)

        assert answer.code == "idempotency_key_invalid"


class TestKey:
    @pytest.mark.parametrize(
        ("quoted", "bare"),
        [(b'"key"', b"key"), (b'"a\\"b\\\\c"', None), (b'"a,b"', None), (b'"%b"' % (b"k" * 255), b"k" * 255)],
        ids=["token", "escaped", "comma", "longest"],
    )
    @doors("plain", "mixin")
    def test_quoted_and_bare_are_one(self, door, quoted, bare):
        values = [quoted, bare or quoted, b"  %b\t" % quoted]

        answers = [
            raw.exchange(door.server, door.path_of(1), b"Idempotency-Key: %b" % value, script=SCRIPT)
            for value in values
        ]

        assert [answer.status for answer in answers] == [201] * 3
        assert len({answer.body for answer in answers}) == 1
        assert [answer.headers["Idempotent-Replayed"] for answer in answers] == [None, "true", "true"]
        assert effects() == ["a"]

    @doors("plain", "async")
    def test_all_visible_characters_are_taken(self, door):
        every = "".join(chr(code) for code in range(0x21, 0x7F) if chr(code) not in '",')

        first, retry = door.post(every, script=SCRIPT), door.post(every, script=SCRIPT)

        assert first.status_code == 201
        assert is_replay(retry)
        assert effects() == ["a"]

    @doors("plain")
    def test_upper_and_lower_case_are_two(self, door):
        responses = [door.post(key, script=[["effect", key]]) for key in ("key", "KEY", "Key")]

        assert not any(is_replay(response) for response in responses)
        assert len(effects()) == 3
        assert keys() == 3

    @doors("plain", "async")
    def test_sent_to_a_view_that_does_not_know_it_changes_nothing(self, door):
        responses = [door.server.post("/scripted/", key="key", script=SCRIPT) for _ in range(2)]
        malformed = raw.exchange(door.server, "/scripted/", b"Idempotency-Key: ", script=SCRIPT)

        assert [response.status_code for response in responses] == [201, 201]
        assert malformed.status == 201
        assert not any(is_replay(response) for response in responses)
        assert effects() == ["a", "a", "a"]
        assert keys() == 0

    @doors("plain", "class", "api-view", "method", "action", "mixin", "async")
    def test_missing_changes_nothing(self, door):
        responses = [door.post(None, script=SCRIPT) for _ in range(2)]

        assert [response.status_code for response in responses] == [201, 201]
        assert responses[0].content != responses[1].content
        assert effects() == ["a", "a"]
        assert keys() == 0
