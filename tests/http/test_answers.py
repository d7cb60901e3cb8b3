"""What a replay looks like, and the answer to a request that is refused."""

import base64

import pytest

from tests.http.doors import EACH, doors, effects, is_replay, keys

EFFECT = ["effect", "first"]
RETRY = [["effect", "retry"]]
MEBIBYTE = 2**20
# What belongs to the connection or the moment, and what tells a replay.
VOLATILE = {"date", "server", "connection", "transfer-encoding", "content-length", "set-cookie", "idempotent-replayed"}
BINARY = base64.b64encode(bytes(range(256)) * 4).decode()


def answers(door, *arguments, key="key", **response):
    """Send a request that is answered with *response*, and its retry; return both answers."""
    script = [["effect", key], ["respond", *arguments, response]]
    return door.post(key, script=script), door.post(key, script=RETRY)


def lasting(response):
    """Return the headers that a replay must have, too."""
    return {name: value for name, value in response.headers.items() if name not in VOLATILE}


class TestReplay:
    @doors(*EACH)
    def test_is_the_first_answer_byte_for_byte(self, door):
        created = door.post("default", script=[["effect", "default"]]), door.post("default", script=RETRY)
        binary = answers(door, key="binary", base64_body=BINARY, content_type="application/octet-stream", status=201)
        empty = answers(door, key="empty", status=200)
        nothing = answers(door, key="nothing", status=204)
        missing = answers(door, "no such thing", key="missing", status=404)
        stream = answers(door, "chunk ", key="stream", stream=True, repeat=1000)

        pairs = [created, binary, empty, nothing, missing, stream]
        assert [first.status_code for first, _ in pairs] == [201, 201, 200, 204, 404, 200]
        assert [replay.status_code for _, replay in pairs] == [201, 201, 200, 204, 404, 200]
        assert [replay.content for _, replay in pairs] == [first.content for first, _ in pairs]
        assert [lasting(replay) for _, replay in pairs] == [lasting(first) for first, _ in pairs]
        assert binary[0].content == bytes(range(256)) * 4
        assert stream[0].text == "chunk " * 1000
        assert [is_replay(response) for pair in pairs for response in pair] == [False, True] * len(pairs)
        assert effects() == ["binary", "default", "empty", "missing", "nothing", "stream"]

    @doors("plain", "mixin", "async")
    def test_has_location_and_no_cookies(self, door):
        headers = {"Location": "/things/1", "ETag": '"1"', "X-Secret": "for the first caller"}

        first, replay = answers(door, status=201, headers=headers, cookies={"session": "secret"})

        assert "session=secret" in first.headers["Set-Cookie"]
        assert first.headers["X-Secret"] == "for the first caller"
        assert (replay.headers["Location"], replay.headers["ETag"]) == ("/things/1", '"1"')
        assert not {"Set-Cookie", "X-Secret"} & {name.title() for name in replay.headers}
        assert not replay.cookies
        assert effects() == ["key"]

    @doors("plain", "mixin", "async")
    def test_is_refused_of_an_oversized_answer(self, door):
        largest = answers(door, "x", key="largest", status=201, repeat=MEBIBYTE)
        larger = answers(door, "x", key="larger", status=201, repeat=MEBIBYTE + 1)
        stream = answers(door, "x" * 1000, key="stream", status=202, stream=True, repeat=2000)
        again = door.post("larger", script=RETRY)

        assert [len(first.content) for first, _ in (largest, larger, stream)] == [MEBIBYTE, MEBIBYTE + 1, 2_000_000]
        assert largest[1].content == largest[0].content
        assert [response.status_code for response in (larger[1], stream[1], again)] == [409, 409, 409]
        assert "status 201" in larger[1].text
        assert "status 202" in stream[1].text
        assert not any(is_replay(response) for response in (larger[1], stream[1], again))
        assert effects() == ["larger", "largest", "stream"]

    @doors("async", "async-on-wsgi", "plain", "plain-on-asgi")
    def test_is_the_answer_of_an_asynchronous_generator(self, door):
        small = [door.post("small", script=[["effect", "small"], ["stream", "chunk ", 100]]) for _ in range(2)]
        large = [door.post("large", script=[["effect", "large"], ["stream", "x" * 1000, 2000]]) for _ in range(2)]

        assert [response.text for response in small] == ["chunk " * 100] * 2
        assert is_replay(small[1])
        assert len(large[0].content) == 2_000_000
        assert large[1].status_code == 409
        assert effects() == ["large", "small"]


class TestProblem:
    """A plain view's answer to a refused request."""

    def refused(self, door):
        door.post(script=[EFFECT])
        yield "idempotency_key_reused", door.post(number=2, script=RETRY)
        yield "idempotency_key_invalid", door.post("two keys", script=RETRY)
        answers(door, "x", key="oversized", status=201, repeat=MEBIBYTE + 1)
        yield "idempotency_response_not_stored", door.post("oversized", script=RETRY)

    @doors("plain", "class", "async")
    def test_is_problem_json(self, door):
        for code, response in self.refused(door):
            problem = response.json()
            assert response.headers["Content-Type"] == "application/problem+json"
            assert problem["type"].startswith("https://")
            assert problem["type"].endswith(f"#{code}")
            assert problem["code"] == code
            assert problem["status"] == response.status_code == (400 if code.endswith("invalid") else 409)
            assert problem["title"]
            assert problem["detail"]
            assert problem["retryable"] is False
            assert problem.get("original_status") == (201 if code.endswith("not_stored") else None)
            assert "Retry-After" not in response.headers

        assert effects() == ["first", "oversized"]

    @doors("api-view", "method", "action", "mixin")
    def test_is_what_rest_framework_makes_of_it(self, door):
        for code, response in self.refused(door):
            assert response.status_code == (400 if code.endswith("invalid") else 409)
            assert response.headers["Content-Type"] == "application/json"
            assert response.json().keys() == {"detail"}
            assert "Retry-After" not in response.headers

        assert effects() == ["first", "oversized"]

    @pytest.mark.engine("postgresql", "mariadb")
    @doors("plain", "async")
    def test_in_progress_is_retryable(self, door):
        with door.held([EFFECT]):
            response = door.post(script=RETRY)

        assert response.headers["Content-Type"] == "application/problem+json"
        assert response.headers["Retry-After"] == "1"
        assert response.json()["code"] == "idempotency_request_in_progress"
        assert response.json()["retryable"] is True
        assert effects() == ["first"]

    @doors("plain-required", "mixin-required")
    def test_missing_key_is_refused_where_it_is_required(self, door):
        refused = door.post(None, script=RETRY)
        get = door.request("GET", None, script=[["effect", "get"]])
        post = door.post(script=[["effect", "post"]])

        assert refused.status_code == 400
        assert "Idempotency-Key" in refused.json()["detail"]
        assert (get.status_code, post.status_code) == (201, 201)
        assert effects() == ["get", "post"]
        assert keys() == 1
