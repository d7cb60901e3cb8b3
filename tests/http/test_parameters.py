"""One key, and a request that means the same, or not."""

import hashlib
import json
from functools import partial
from typing import Any

from tests.factories import UserFactory
from tests.http.doors import EACH, doors, effects, is_in_progress, is_replay, keys
from tests.threads import together

EFFECT = [["effect", "first"]]
RETRY = [["effect", "retry"]]
JSON = {"Content-Type": "application/json"}


def multipart(boundary: str, *, note: str = "hello", content: bytes = b"content") -> dict[str, Any]:
    """Return the headers and the content of a form with one field and one file."""
    parts = (
        b'--%(boundary)b\r\nContent-Disposition: form-data; name="note"\r\n\r\n%(note)b\r\n'
        b'--%(boundary)b\r\nContent-Disposition: form-data; name="file"; filename="a.bin"\r\n'
        b"Content-Type: application/octet-stream\r\n\r\n%(content)b\r\n--%(boundary)b--\r\n"
    )
    values = {b"boundary": boundary.encode(), b"note": note.encode(), b"content": content}
    return {
        "headers": {"Content-Type": f"multipart/form-data; boundary={boundary}"},
        "content": parts % values,
    }


class TestOtherParameters:
    @doors("plain", "mixin", "async")
    def test_key_reused_with_other_path_query_or_body_is_refused(self, door):
        original: dict[str, Any] = {"params": {"currency": "EUR"}, "content": b'{"amount": 1}', "headers": JSON}
        changes: list[dict[str, Any]] = [
            {"number": 2},
            {"params": {"currency": "CHF"}},
            {"params": {}},
            {"content": b'{"amount": 2}'},
            {"content": b""},
            {"headers": {"Content-Type": "text/plain"}},
        ]
        door.post(script=EFFECT, **original)

        refused = [door.post(script=RETRY, **{**original, **change}) for change in changes]
        replay = door.post(script=RETRY, **original)

        assert [response.status_code for response in refused] == [409] * len(changes)
        assert not any(is_in_progress(response) or is_replay(response) for response in refused)
        assert is_replay(replay)
        assert effects() == ["first"]

    @doors(*EACH)
    def test_key_reused_with_other_method_is_refused(self, door):
        door.post(script=EFFECT)

        response = door.request("PATCH", script=RETRY)

        assert response.status_code == 409
        assert effects() == ["first"]

    @doors("plain")
    def test_key_reused_at_another_door_is_refused(self, door):
        door.post(script=EFFECT)

        response = door.server.post("/http/mixin/1/", key="key", script=RETRY)

        assert response.status_code == 409
        assert effects() == ["first"]

    @doors("plain", "mixin", "async")
    def test_key_at_once_with_other_bodies_has_one_effect(self, door):
        bodies = [json.dumps({"amount": number}).encode() for number in range(8)]

        responses = together(
            [partial(door.insist, script=[["effect", "a"]], content=body, headers=JSON) for body in bodies]
        )

        assert effects() == ["a"]
        assert sorted(response.status_code for response in responses) == [201] + [409] * 7


class TestJSON:
    @doors(*EACH)
    def test_order_and_white_space_do_not_count(self, door):
        first = door.post(script=EFFECT, content=b'{"amount": 1.50, "to": {"a": 1, "b": 2}}', headers=JSON)

        response = door.post(script=RETRY, content=b'{"to":{"b":2,"a":1},\n"amount":1.5}', headers=JSON)

        assert is_replay(response)
        assert response.content == first.content
        assert effects() == ["first"]

    @doors("plain", "mixin")
    def test_order_of_a_list_counts(self, door):
        door.post(script=EFFECT, content=b'{"to": [1, 2]}', headers=JSON)

        response = door.post(script=RETRY, content=b'{"to": [2, 1]}', headers=JSON)

        assert response.status_code == 409
        assert effects() == ["first"]


class TestMultipart:
    @doors("plain", "api-view", "mixin", "async")
    def test_retry_with_new_boundary_replays(self, door):
        # The second is above the size from which Django keeps an upload in a file.
        contents = [bytes(range(250)) * number for number in (1, 12_000)]

        for key, content in zip("ab", contents, strict=True):
            first = door.post(key, script=[["upload"]], **multipart("one", content=content))
            retry = door.post(key, script=[["upload"]], **multipart("another", content=content))
            assert first.status_code == 201
            assert is_replay(retry)
            assert retry.content == first.content

        assert effects() == sorted(f"hello {hashlib.sha256(content).hexdigest()}" for content in contents)

    @doors("plain", "api-view", "mixin", "async")
    def test_key_reused_with_another_file_or_field_is_refused(self, door):
        door.post(script=EFFECT, **multipart("one"))

        file = door.post(script=RETRY, **multipart("one", content=b"Content"))
        field = door.post(script=RETRY, **multipart("one", note="bye"))

        assert (file.status_code, field.status_code) == (409, 409)
        assert effects() == ["first"]

    @doors("plain", "method", "mixin")
    def test_patch_with_new_boundary_replays(self, door):
        door.request("PATCH", script=EFFECT, **multipart("one"))

        same = door.request("PATCH", script=RETRY, **multipart("another"))
        other = door.request("PATCH", script=RETRY, **multipart("another", content=b"Content"))

        assert is_replay(same)
        assert other.status_code == 409
        assert effects() == ["first"]


class TestUsers:
    @doors(*EACH)
    def test_one_key_of_two_users_is_two(self, door):
        one, two = UserFactory.create_batch(2)
        names = [one.username, two.username, None]

        first = [door.post(user=name, script=[["effect", name or "anonymous"]]) for name in names]
        again = [door.post(user=name, script=RETRY) for name in names]

        assert effects() == sorted(["anonymous", one.username, two.username])
        assert keys() == 3
        assert not any(is_replay(response) for response in first)
        assert all(is_replay(response) for response in again)
        assert [response.content for response in again] == [response.content for response in first]
        assert len({response.content for response in first}) == 3

    @doors("plain", "mixin", "async")
    def test_of_two_users_at_once_each_has_one_effect(self, door):
        names = [user.username for user in UserFactory.create_batch(2)]

        responses = together([partial(door.insist, user=name, script=[["effect", name]]) for name in names * 6])

        assert effects() == sorted(names)
        contents = [{response.content for response in responses[number::2]} for number in range(2)]
        assert [len(content) for content in contents] == [1, 1]
        assert contents[0] != contents[1]


class TestPermission:
    @doors("plain-staff", "api-view-staff", "mixin-staff")
    def test_revoked_before_the_retry_refuses_it(self, door):
        user = UserFactory.create(is_staff=True)
        first = door.post(user=user.username, script=EFFECT)
        user.is_staff = False
        user.save()

        refused = door.post(user=user.username, script=RETRY)
        user.is_staff = True
        user.save()
        replay = door.post(user=user.username, script=RETRY)

        assert first.status_code == 201
        assert refused.status_code == 403
        assert first.json()["id"] not in refused.text
        assert is_replay(replay)
        assert effects() == ["first"]


class TestMethods:
    @doors(*EACH)
    def test_patch_replays_and_other_methods_run_each_time(self, door):
        first = door.request("PATCH", "patch", script=EFFECT)
        retry = door.request("PATCH", "patch", script=RETRY)
        methods = ["GET", "PUT", "DELETE"] * 2
        others = [door.request(method, script=[["effect", method]]) for method in methods]

        assert is_replay(retry)
        assert retry.content == first.content
        assert {response.status_code for response in others} == {201}
        assert not any(is_replay(response) for response in others)
        assert effects() == sorted([*methods, "first"])
        assert keys() == 1
