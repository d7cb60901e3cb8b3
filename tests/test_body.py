"""The copy of a request's body that the fingerprint leaves behind."""

import gc

import pytest
from django.contrib.auth.models import AnonymousUser
from django.http import HttpResponse
from django.test import Client, RequestFactory

from django_idempotency.decorators import idempotent


@idempotent
def ignores_its_body(request):
    return HttpResponse("done")


class TestBody:
    @pytest.mark.django_db
    def test_copy_that_nobody_reads_is_closed_with_the_request(self, recwarn):
        client = Client()
        for _ in range(2):  # The second one is a replay: its handler does not run.
            client.post("/keyed/", {"a": 1}, content_type="application/json", headers={"Idempotency-Key": "key"})

        gc.collect()

        assert [str(warning.message) for warning in recwarn.list] == []

    @pytest.mark.django_db
    def test_copy_can_be_read_until_then(self):
        request = RequestFactory().post("/", "{}", content_type="application/json", headers={"Idempotency-Key": "key"})
        request.user = AnonymousUser()

        ignores_its_body(request)

        assert request.read() == b"{}"
        request.close()
        assert request._stream.closed
