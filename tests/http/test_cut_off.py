"""Clients that die while they send: what arrived of the body is no request."""

import pytest

from tests.http import raw
from tests.http.doors import doors, effects, is_replay, keys

FORM = b"amount=1000"
JSON = b'{"amount": 10} {"b'
MULTIPART = (
    b'--X\r\nContent-Disposition: form-data; name="amount"\r\n\r\n1000\r\n'
    b'--X\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\nhello\r\n--X--\r\n'
)
BODIES = {
    "form": (b"application/x-www-form-urlencoded", FORM, len(b"amount=1")),
    "json": (b"application/json", JSON, len(b'{"amount": 10}')),
    "raw": (b"application/octet-stream", b"1000", 1),
    "multipart": (b"multipart/form-data; boundary=X", MULTIPART, MULTIPART.index(b"000\r\n")),
    "file": (b"multipart/form-data; boundary=X", MULTIPART, MULTIPART.index(b"lo\r\n")),
    "nothing": (b"application/json", b"{}", 0),
}


class TestCutOffBody:
    @pytest.mark.parametrize(("media_type", "body", "sent"), BODIES.values(), ids=BODIES)
    @doors("plain", "mixin", "async-on-wsgi", "plain-on-asgi", "async")
    def test_is_no_request_and_the_whole_one_runs(self, door, media_type, body, sent):
        headers = {"Content-Type": media_type.decode()}
        lines = (b"Idempotency-Key: key", b"Content-Type: %b" % media_type)
        connection = raw.send(
            door.server, door.path_of(1), *lines, script=[["effect", "part"]], body=body[:sent], length=len(body)
        )
        with connection:
            connection.recv(1)
        door.server.wait_idle()

        retry = door.insist(script=[["effect", "whole"]], content=body, headers=headers)

        assert retry.status_code == 201
        assert not is_replay(retry)
        assert effects() == ["whole"]
        assert keys() == 1
