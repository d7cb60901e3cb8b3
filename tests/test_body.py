"""The copy of a request's body that the fingerprint leaves behind."""

import gc
from io import BytesIO

import pytest
from django.contrib.auth.models import AnonymousUser
from django.core.exceptions import BadRequest
from django.core.handlers.wsgi import WSGIRequest
from django.http import HttpResponse
from django.test import Client, RequestFactory

from django_idempotency.decorators import idempotent


@idempotent
def ignores_its_body(request):
    return HttpResponse("done")


class TestBody:
    @pytest.mark.django_db
    @pytest.mark.parametrize("max_memory", [0, 1024])
    def test_copy_that_nobody_reads_is_closed_with_the_request(self, max_memory, settings, recwarn):
        settings.FILE_UPLOAD_MAX_MEMORY_SIZE = max_memory
        client = Client()
        for _ in range(2):  # The second one is a replay: its handler does not run.
            client.post("/keyed/", {"a": 1}, content_type="application/json", headers={"Idempotency-Key": "key"})

        gc.collect()

        assert [str(warning.message) for warning in recwarn.list] == []

    @pytest.mark.django_db
    def test_copy_can_be_read_until_then(self, settings):
        settings.FILE_UPLOAD_MAX_MEMORY_SIZE = 1
        request = RequestFactory().post("/", "{}", content_type="application/json", headers={"Idempotency-Key": "key"})
        request.user = AnonymousUser()

        ignores_its_body(request)

        assert request.read() == b"{}"
        request.close()
        assert request._stream.closed


class TestCutOffBody:
    @pytest.mark.parametrize(
        "read_before", [lambda request: request.body, lambda request: request.POST, lambda _: None]
    )
    @pytest.mark.parametrize("content_type", ["application/x-www-form-urlencoded", "multipart/form-data; boundary=X"])
    def test_is_refused_whoever_has_read_it(self, read_before, content_type):
        part = b'--X\r\nContent-Disposition: form-data; name="amount"\r\n\r\n1'
        request = RequestFactory().post("/", part, content_type=content_type, headers={"Idempotency-Key": "key"})
        request = WSGIRequest({**request.environ, "CONTENT_LENGTH": str(len(part) + 3), "wsgi.input": BytesIO(part)})
        request.user = AnonymousUser()
        read_before(request)

        with pytest.raises(BadRequest, match="ended 3 octets before"):
            ignores_its_body(request)
