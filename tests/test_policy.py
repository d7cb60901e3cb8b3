"""Arguments beat settings, and are refused at once where they cannot be meant."""

from dataclasses import fields
from datetime import timedelta

import pytest
from django.http import HttpResponse

from django_idempotency.conf import DEFAULT_STORED_HEADERS
from django_idempotency.exceptions import UsageError
from django_idempotency.policy import Policy
from tests.test_requirements import ACCEPTED, REFUSED, pairs

ARGUMENTS = {field.name for field in fields(Policy)}


class TestPolicy:
    @pytest.mark.parametrize(("name", "value"), [pair for pair in pairs(ACCEPTED) if pair[0] in ARGUMENTS], ids=repr)
    def test_takes(self, name, value):
        others = {"steps": True} if name in {"lease", "keep_request"} else {}

        assert getattr(Policy(**{**others, name: value}), name) is value

    @pytest.mark.parametrize(("name", "value"), [pair for pair in pairs(REFUSED) if pair[0] in ARGUMENTS], ids=repr)
    def test_refuses_at_once_what_cannot_be_meant(self, name, value):
        with pytest.raises(UsageError, match=f"{name} must be "):
            Policy(**{name: value})

    def test_unknown_argument_is_refused(self):
        with pytest.raises(TypeError):
            Policy(colour="red")  # type: ignore[call-arg]  # that is what is tested

    def test_settings_answer_what_is_not_given(self, settings):
        policy = Policy()

        settings.IDEMPOTENCY_METHODS = ["PUT"]
        settings.IDEMPOTENCY_REQUIRED = True
        settings.IDEMPOTENCY_TTL = 60
        settings.IDEMPOTENCY_WAIT = 2
        settings.IDEMPOTENCY_MAX_RESPONSE_BYTES = 10
        settings.IDEMPOTENCY_STORED_HEADERS = ["X-Name"]
        settings.IDEMPOTENCY_STORED_STATUSES = [500]

        assert policy.guards("PUT")
        assert not policy.guards("POST")
        assert policy.is_required()
        assert policy.get_ttl() == timedelta(seconds=60)
        assert policy.get_wait() == 2
        assert policy.get_max_response_bytes() == 10
        assert policy.get_stored_headers() == DEFAULT_STORED_HEADERS | {"x-name"}
        assert policy.stores(HttpResponse(status=500))
        assert not policy.stores(HttpResponse(status=200))

    def test_arguments_beat_settings(self, settings):
        policy = Policy(
            methods=["PUT"],
            required=False,
            ttl=60,
            wait=0,
            max_response_bytes=0,
            stored_headers=["X-Other", "Set-Cookie"],
            stored_statuses=[],
        )

        settings.IDEMPOTENCY_METHODS = ["POST"]
        settings.IDEMPOTENCY_REQUIRED = True
        settings.IDEMPOTENCY_TTL = 90
        settings.IDEMPOTENCY_WAIT = 2
        settings.IDEMPOTENCY_MAX_RESPONSE_BYTES = 10
        settings.IDEMPOTENCY_STORED_HEADERS = ["X-Name"]
        settings.IDEMPOTENCY_STORED_STATUSES = [200]

        assert policy.guards("PUT")
        assert not policy.guards("POST")
        assert not policy.is_required()
        assert policy.get_ttl() == timedelta(seconds=60)
        assert policy.get_wait() == 0
        assert policy.get_max_response_bytes() == 0
        assert policy.get_stored_headers() == DEFAULT_STORED_HEADERS | {"x-other"}
        assert not policy.stores(HttpResponse(status=200))

    @pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "PUT", "DELETE", None])
    def test_other_methods_than_post_and_patch_are_not_guarded(self, method):
        assert not Policy().guards(method)
