"""What is stored of a response, and what its replay is like."""

import io
import json
from http.cookies import SimpleCookie

import pytest
from asgiref.sync import async_to_sync, sync_to_async
from django.core.handlers.asgi import ASGIRequest
from django.http import (
    FileResponse,
    HttpRequest,
    HttpResponse,
    HttpResponseRedirect,
    HttpResponseServerError,
    JsonResponse,
    StreamingHttpResponse,
)
from django.template import engines
from django.template.response import SimpleTemplateResponse
from django.test import RequestFactory
from django.utils.http import http_date

from django_idempotency.exceptions import (
    KeyInvalid,
    KeyMissing,
    KeyReused,
    RequestInProgress,
    ResponseExpired,
    ResponseNotStored,
)
from django_idempotency.policy import Policy
from django_idempotency.responses import ResponseCodec, problem_response, status_of
from tests.app.models import Effect

rf = RequestFactory()
LIMIT = 10


def codec(*, under_asgi=False, **policy):
    """Return the codec of an endpoint that stores ten bytes."""
    request: HttpRequest = rf.post("/")
    if under_asgi:
        scope = {"type": "http", "method": "POST", "path": "/", "query_string": b"", "headers": []}
        request = ASGIRequest(scope, io.BytesIO())
    return ResponseCodec.of(Policy(**{"max_response_bytes": LIMIT, **policy}), request)


def replay_of(response, **policy):
    """Return what a retry gets, by way of the codec."""
    ours = codec(**policy)
    stored = ours.dump(response)
    assert stored is not None
    return ours.load(stored)


def sent(response):
    """Return the bytes that a server would send."""
    return b"".join(response) if response.streaming else response.content


class TestDump:
    @pytest.mark.parametrize("status", [200, 201, 204, 302, 404, 410])
    def test_stored_status(self, status):
        stored = codec().dump(HttpResponse(b"a", status=status))

        assert stored is not None
        assert (stored.status, stored.body) == (status, b"a")

    @pytest.mark.parametrize("status", [400, 401, 403, 409, 422, 429, 500, 503])
    def test_other_status_is_forgotten(self, status):
        assert codec().dump(HttpResponse(status=status)) is None

    def test_policy_decides_which_statuses_are_stored(self):
        assert codec(stored_statuses=[500]).dump(HttpResponseServerError()) is not None
        assert codec(stored_statuses=[500]).dump(HttpResponse()) is None

    @pytest.mark.parametrize("body", [b"", b"\0\xff", b"x" * LIMIT])
    def test_body_within_the_limit(self, body):
        stored = codec().dump(HttpResponse(body))

        assert stored is not None
        assert stored.body == body

    def test_larger_body_is_sent_and_not_stored(self):
        response = HttpResponse(b"x" * (LIMIT + 1), headers={"Location": "/1/"})

        stored = codec().dump(response)

        assert stored is not None
        assert (stored.status, stored.body) == (200, None)
        assert ("Location", "/1/") in stored.headers
        assert response.content == b"x" * (LIMIT + 1)

    def test_nothing_larger_than_nothing(self):
        stored = codec(max_response_bytes=0).dump(HttpResponse(b""))

        assert stored is not None
        assert stored.body == b""

    def test_template_is_rendered(self):
        template = engines["django"].from_string("{{ a }}")
        response = SimpleTemplateResponse(template, {"a": "b"})

        stored = codec().dump(response)

        assert stored is not None
        assert stored.body == b"b"
        assert response.is_rendered

    def test_template_of_a_forgotten_response_is_not(self):
        response = SimpleTemplateResponse("missing.html", status=500)

        assert codec().dump(response) is None
        assert not response.is_rendered


@pytest.mark.django_db  # Closing a response looks after the connections.
class TestStream:
    def test_is_read_and_still_sent(self):
        response = StreamingHttpResponse(iter([b"ab", "cd", b""]))

        stored = codec().dump(response)

        assert stored is not None
        assert stored.body == sent(response) == b"abcd"

    def test_is_read_no_further_than_the_limit(self):
        produced = []

        def content():
            for number in range(100):
                produced.append(number)
                yield b"xxxx"

        response = StreamingHttpResponse(content())
        stored = codec().dump(response)
        read = len(produced)

        assert stored is not None
        assert stored.body is None
        assert read == 3
        assert sent(response) == b"xxxx" * 100

    def test_of_exactly_the_limit_is_stored(self):
        stored = codec().dump(StreamingHttpResponse([b"x" * LIMIT]))

        assert stored is not None
        assert stored.body == b"x" * LIMIT

    def test_that_is_empty(self):
        response = StreamingHttpResponse([])

        stored = codec().dump(response)

        assert stored is not None
        assert stored.body == sent(response) == b""

    def test_of_a_forgotten_response_is_not_read(self):
        content = iter([b"a"])

        assert codec().dump(StreamingHttpResponse(content, status=500)) is None
        assert next(content) == b"a"

    @pytest.mark.parametrize("size", [LIMIT, 100 * LIMIT], ids=["stored", "too large"])
    def test_is_closed_with_the_response(self, size):
        closed = []

        class Content:
            def __iter__(self):
                return iter([b"x"] * size)

            def close(self):
                closed.append(True)

        response = StreamingHttpResponse(Content())
        codec().dump(response)
        assert not closed

        response.close()

        assert closed

    @pytest.mark.parametrize("size", [LIMIT, 100 * LIMIT], ids=["stored", "too large"])
    def test_file(self, size):
        file = io.BytesIO(b"x" * size)
        response = FileResponse(file, as_attachment=True, filename="a.txt")

        stored = codec().dump(response)

        assert stored is not None
        assert stored.body == (b"x" * size if size == LIMIT else None)
        assert ("Content-Disposition", 'attachment; filename="a.txt"') in stored.headers
        assert sent(response) == b"x" * size
        response.close()
        assert file.closed


async def stream(size):
    for _ in range(size):
        yield b"x"


async def asent(response):
    return b"".join([chunk async for chunk in response])


class TestAsynchronousStream:
    @pytest.mark.parametrize("size", [0, 1, LIMIT])
    @pytest.mark.parametrize("under_asgi", [True, False], ids=["ASGI", "WSGI"])
    def test_is_read_and_still_sent(self, size, under_asgi):
        response = StreamingHttpResponse(stream(size))

        stored = codec(under_asgi=under_asgi).dump(response)

        assert stored is not None
        assert stored.body == b"x" * size
        assert async_to_sync(asent)(response) == b"x" * size

    def test_larger_is_sent_whole_under_wsgi(self):
        response = StreamingHttpResponse(stream(100))

        stored = codec().dump(response)

        assert stored is not None
        assert stored.body is None
        with pytest.warns(Warning, match="must consume asynchronous iterators"):
            assert sent(response) == b"x" * 100

    def test_larger_is_read_no_further_than_the_limit_under_asgi(self):
        produced = []

        async def content():
            for number in range(100):
                produced.append(number)
                yield b"x"

        async def request():
            response = StreamingHttpResponse(content())
            stored = await sync_to_async(codec(under_asgi=True).dump)(response)
            return stored, len(produced), await asent(response)

        stored, read, body = async_to_sync(request)()

        assert stored is not None
        assert stored.body is None
        assert read == LIMIT + 1
        assert body == b"x" * 100

    @pytest.mark.django_db
    def test_may_use_the_orm(self):
        Effect.objects.bulk_create([Effect(label=label) for label in "abc"])

        async def content():
            async for effect in Effect.objects.order_by("label"):
                yield effect.label.encode()

        async def request():
            response = StreamingHttpResponse(content())
            return await sync_to_async(codec(under_asgi=True).dump)(response)

        stored = async_to_sync(request)()

        assert stored is not None
        assert stored.body == b"abc"


class TestLoad:
    def test_status_and_body_are_the_same(self):
        replay = replay_of(HttpResponse(b"\0\xff", status=201))

        assert (replay.status_code, replay.content) == (201, b"\0\xff")

    def test_says_that_it_is_a_replay(self):
        assert replay_of(HttpResponse())["Idempotent-Replayed"] == "true"

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("Content-Type", "application/vnd.api+json"),
            ("Content-Language", "de"),
            ("Content-Disposition", 'attachment; filename="a.txt"'),
            ("Content-Encoding", "gzip"),
            ("Location", "/charges/1/"),
            ("Link", '</a>; rel="next"'),
            ("ETag", '"abc"'),
            ("Last-Modified", http_date(0)),
            ("location", "/charges/1/"),
        ],
    )
    def test_header_on_the_list_is_kept(self, name, value):
        assert replay_of(HttpResponse(headers={name: value}))[name] == value

    @pytest.mark.parametrize(
        "name", ["Date", "Vary", "Cache-Control", "Content-Length", "WWW-Authenticate", "Connection", "X-Request-Id"]
    )
    def test_other_header_is_not(self, name):
        assert name not in replay_of(HttpResponse(headers={name: "1"}))

    def test_cookies_are_not(self):
        response = HttpResponse()
        response.set_cookie("session", "secret")

        replay = replay_of(response)

        assert replay.cookies == SimpleCookie()
        assert response.cookies["session"].value == "secret"

    def test_policy_adds_headers(self):
        response = HttpResponse(headers={"X-Request-Id": "1", "Date": http_date(0)})

        replay = replay_of(response, stored_headers=["x-request-id", "Date"])

        assert replay["X-Request-Id"] == "1"
        assert "Date" not in replay

    def test_setting_adds_headers(self, settings):
        settings.IDEMPOTENCY_STORED_HEADERS = ["X-Request-Id"]

        assert replay_of(HttpResponse(headers={"X-Request-Id": "1"}))["X-Request-Id"] == "1"

    def test_no_content_type_stays_none(self):
        response = HttpResponse(status=204)
        del response["Content-Type"]

        assert "Content-Type" not in replay_of(response)

    def test_charset_is_kept(self):
        replay = replay_of(HttpResponse("é", charset="latin-1"))

        assert replay.content == b"\xe9"
        assert replay.charset == "latin-1"

    def test_redirect(self):
        replay = replay_of(HttpResponseRedirect("/a/"))

        assert (replay.status_code, replay["Location"]) == (302, "/a/")

    def test_json(self):
        assert json.loads(replay_of(JsonResponse({"a": 1})).content) == {"a": 1}


class TestProblemResponse:
    @pytest.mark.parametrize(
        "error",
        [
            KeyMissing(),
            KeyInvalid("Blank."),
            RequestInProgress(),
            KeyReused(),
            ResponseNotStored(201),
            ResponseExpired(),
        ],
        ids=lambda error: error.code,
    )
    def test_is_a_problem_with_a_link_to_its_explanation(self, error):
        response = problem_response(error)

        problem = json.loads(response.content)
        assert response["Content-Type"] == "application/problem+json"
        assert response.status_code == problem["status"] == error.status
        assert problem["type"] == f"https://django-idempotency.readthedocs.io/en/stable/errors.html#{error.code}"
        assert problem["title"] == error.title
        assert problem["detail"] == error.detail
        assert problem["code"] == error.code
        assert problem["retryable"] is error.retryable

    def test_only_what_may_be_sent_again_has_retry_after(self, settings):
        settings.IDEMPOTENCY_RETRY_AFTER = 7

        assert problem_response(RequestInProgress())["Retry-After"] == "7"
        assert "Retry-After" not in problem_response(KeyReused())

    def test_original_status_is_told_where_it_is_known(self):
        assert json.loads(problem_response(ResponseNotStored(201)).content)["original_status"] == 201
        assert "original_status" not in json.loads(problem_response(KeyReused()).content)

    def test_documentation_is_the_projects_choice(self, settings):
        settings.IDEMPOTENCY_DOCUMENTATION_URL = "https://example.com/errors"

        problem = json.loads(problem_response(KeyMissing()).content)

        assert problem["type"] == "https://example.com/errors#idempotency_key_missing"


class TestStatusOf:
    def test_reused_key_has_the_status_of_the_settings(self, settings):
        assert status_of(KeyReused()) == 409

        settings.IDEMPOTENCY_REUSED_STATUS = 422

        assert status_of(KeyReused()) == 422
        assert problem_response(KeyReused()).status_code == 422
        assert json.loads(problem_response(KeyReused()).content)["status"] == 422

    def test_others_keep_theirs(self, settings):
        settings.IDEMPOTENCY_REUSED_STATUS = 422

        assert status_of(RequestInProgress()) == 409
        assert status_of(KeyMissing()) == 400
