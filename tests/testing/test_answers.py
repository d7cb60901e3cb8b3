"""Answer is the same of whichever client."""

import httpx
import pytest
from django.http import HttpResponse, StreamingHttpResponse

from django_idempotency.testing import Answer

HTML = "text/html; charset=utf-8"


class TestAnswer:
    @pytest.mark.parametrize(
        "response",
        [
            HttpResponse(b"done", status=201, headers={"Location": "/1/"}),
            StreamingHttpResponse([b"do", b"ne"], status=201, headers={"Location": "/1/"}),
            httpx.Response(
                201,
                content=b"done",
                headers={"Location": "/1/", "Content-Type": HTML},
                request=httpx.Request("POST", "http://127.0.0.1/"),
            ),
            Answer(
                status=201,
                headers=(("location", "/1/"), ("content-type", HTML)),
                body=b"done",
            ),
        ],
        ids=["django", "stream", "httpx", "answer"],
    )
    def test_is_made_of_a_response(self, response):
        answer = Answer.of(response)

        assert (answer.status, answer.body, answer.header("Location")) == (201, b"done", "/1/")
        assert answer.difference(Answer.of(HttpResponse(b"done", status=201, headers={"Location": "/1/"}))) == ""

    def test_has_cookies_among_its_headers(self):
        response = HttpResponse()
        response.set_cookie("session", "abc")

        assert Answer.of(response).header("Set-Cookie") == "session=abc; Path=/"

    @pytest.mark.parametrize(
        ("other", "difference"),
        [
            (Answer(status=200, body=b"a"), "status 200 instead of 201: 'a'"),
            (Answer(status=201, body=b"b"), "another body: 'b' instead of 'a'"),
            (Answer(status=201, body=b"a", headers=(("etag", "1"),)), "header etag: '1' instead of None"),
        ],
    )
    def test_says_how_another_differs(self, other, difference):
        assert Answer(status=201, body=b"a").difference(other) == difference

    def test_shows_the_beginning_of_a_long_body(self):
        assert Answer(status=200, body=b"x" * 300).excerpt == "'" + "x" * 200 + "...'"
