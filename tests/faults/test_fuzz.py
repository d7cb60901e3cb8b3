"""Anything at all as a key, a body or a content type: never a 500, and no effect of what was refused."""

import json
from typing import Any

import pytest
from django.db import transaction
from django.http import HttpResponse, QueryDict
from hypothesis import assume, given
from hypothesis import strategies as st

from django_idempotency.fingerprint import canonical_json
from django_idempotency.keys import parse_key
from django_idempotency.models import IdempotencyKey
from tests.app.models import Effect
from tests.doors import DOORS, send
from tests.faults.strategies import bodies, bounded, json_values, key_headers, key_in, keys, quoted, spellings
from tests.http import raw
from tests.http.doors import effects


def read_all(request: Any) -> HttpResponse:
    """Leave an effect behind; then read the body, which may be refused."""
    Effect.objects.create(label="handled")
    if hasattr(request, "data"):
        data = request.data
        return HttpResponse(repr(sorted(data.lists()) if isinstance(data, QueryDict) else data), status=201)
    fields = sorted(request.POST.lists())
    if request.content_type == "multipart/form-data":
        files = [(name, upload.read()) for name, uploads in request.FILES.lists() for upload in uploads]
        return HttpResponse(repr((fields, files)), status=201)
    return HttpResponse(repr((fields, request.body)), status=201)


VIEWS = {door.__name__: door(read_all) for door in DOORS}
doors = st.sampled_from(list(VIEWS))


def remembered() -> list[str]:
    return list(IdempotencyKey.objects.values_list("key", flat=True))


@transaction.atomic  # One commit: most of the time goes by with those.
def forget_everything() -> None:
    Effect.objects.all().delete()
    IdempotencyKey.objects.all().delete()


@pytest.mark.django_db(transaction=True)
class TestKeyHeader:
    @bounded(100)
    @given(door=doors, value=key_headers, asgi=st.booleans())
    def test_is_a_key_or_is_refused(self, door, value, asgi):
        forget_everything()

        responses = [send(VIEWS[door], headers={"Idempotency-Key": value}, asgi=asgi) for _ in range(2)]

        key = key_in(value)
        assert [response.status_code for response in responses] == [400, 400] if key is None else [201, 201]
        assert effects() == ([] if key is None else ["handled"])
        assert remembered() == ([] if key is None else [key])

    @bounded(60)
    @given(value=key_headers.map(lambda value: value.encode("latin-1")) | st.binary(max_size=40))
    @pytest.mark.parametrize("door", ["server", "asgi_server"])
    def test_sent_as_raw_bytes(self, request, door, value):
        assume(b"\r" not in value and b"\n" not in value)
        forget_everything()
        path = "/http/mixin/1/" if door == "server" else "/http/async/1/"
        server = request.getfixturevalue(door)

        answer = raw.exchange(server, path, b"Idempotency-Key: %b" % value, script=[["effect", "handled"]])

        assert answer.status in {201, 400}, server.log.read_text()[-4000:]
        assert effects() == (["handled"] if answer.status == 201 else [])
        assert remembered() == ([key_in(value.decode("latin-1"))] if answer.status == 201 else [])

    @bounded(100)
    @given(key=keys)
    def test_quoted_and_bare_are_one_key(self, key):
        assume(len(key) <= 255 and not set('",') & set(key))

        assert parse_key(key) == parse_key(quoted(key)) == key


@pytest.mark.django_db(transaction=True)
class TestBody:
    @bounded(100)
    @given(door=doors, method=st.sampled_from(("POST", "PATCH")), body=bodies, asgi=st.booleans())
    def test_is_understood_as_without_a_key_or_refused(self, door, method, body, asgi):
        def post(key: str | None) -> Any:
            content_type, content = body
            return send(VIEWS[door], method, key=key, body=content, content_type=content_type, asgi=asgi)

        forget_everything()
        unguarded = post(None)
        forget_everything()

        first, retry = post("key"), post("key")

        assert first.status_code < 500
        # Django parses a form for POST only; where it cannot be, the fingerprint refuses it for PATCH, too.
        if method == "POST" or first.status_code != 400:
            assert (first.status_code, first.sent) == (unguarded.status_code, unguarded.sent)
        assert (retry.status_code, retry.sent) == (first.status_code, first.sent)
        assert effects() == ["handled"] * (first.status_code == 201)
        assert remembered() == ["key"] * (first.status_code == 201)

    @bounded(100)
    @given(door=doors, first=bodies, second=bodies)
    def test_of_another_request_is_never_run(self, door, first, second):
        forget_everything()
        responses = [
            send(VIEWS[door], key="key", body=content, content_type=content_type)
            for content_type, content in (first, second)
        ]

        accepted = [response for response in responses if response.status_code == 201]
        assert len(effects()) == len(remembered()) == bool(accepted)
        assert len({response.sent for response in accepted}) <= 1
        assert {response.status_code for response in responses} <= {201, 400, 409, 413, 415}


class TestCanonicalJson:
    @bounded(300)
    @given(texts=spellings())
    def test_is_one_for_all_spellings(self, texts):
        assert canonical_json(texts[0]) == canonical_json(texts[1]) is not None

    @bounded(300)
    @given(one=json_values, other=json_values)
    def test_tells_meanings_apart(self, one, other):
        assume(one != other)

        assert canonical_json(json.dumps(one)) != canonical_json(json.dumps(other))
