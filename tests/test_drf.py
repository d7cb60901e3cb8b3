"""The mixin: one question a method, and all of DRF around it."""

import json
from datetime import timedelta
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.http import QueryDict
from django.test import Client, override_settings
from django.urls import re_path
from rest_framework.exceptions import PermissionDenied
from rest_framework.parsers import BaseParser
from rest_framework.permissions import BasePermission
from rest_framework.renderers import BrowsableAPIRenderer, JSONRenderer
from rest_framework.response import Response
from rest_framework.views import APIView

from django_idempotency.drf import IdempotencyMixin
from django_idempotency.exceptions import KeyInvalid, UsageError
from django_idempotency.fingerprint import Fingerprint
from django_idempotency.models import IdempotencyKey
from tests.app.views import effect
from tests.doors import send
from tests.factories import UserFactory
from tests.operations import labels

pytestmark = pytest.mark.django_db


class Charges(IdempotencyMixin, APIView):
    """Leaves an effect, and answers with what it was sent."""

    def post(self, request):
        effect("a")
        return Response({"charged": True}, status=201)


def view(**attributes):
    """Return a view with these methods and attributes beside those of `Charges`."""
    kind: Any = type("View", (Charges,), attributes)
    return kind.as_view()


def is_replay(response):
    return response.headers.get("Idempotent-Replayed") == "true"


class TestQuestions:
    def test_key_may_come_from_elsewhere(self):
        charges = view(get_idempotency_key=lambda self, request: request.META.get("HTTP_X_REQUEST_ID"))

        first, retry = (send(charges, headers={"X-Request-Id": "r"}) for _ in range(2))

        assert not is_replay(first)
        assert is_replay(retry)
        assert labels() == ["a"]

    def test_key_of_another_form_is_refused(self):
        def refuse(self, request):
            raise KeyInvalid("No.")

        response = send(view(get_idempotency_key=refuse), key="k")

        assert (response.status_code, response.json()) == (400, {"detail": "No."})
        assert labels() == []

    def test_requirement_may_depend_on_the_request(self):
        charges = view(is_idempotency_required=lambda self, request: "X-Mobile" in request.headers)

        assert send(charges).status_code == 201
        assert send(charges, headers={"X-Mobile": "1"}).status_code == 400
        assert labels() == ["a"]

    def test_scope_may_be_a_tenant(self):
        charges = view(get_idempotency_scope=lambda self, request: request.headers["X-Tenant"])

        answers = [send(charges, key="k", headers={"X-Tenant": tenant}) for tenant in ("1", "2", "1")]

        assert [is_replay(answer) for answer in answers] == [False, False, True]
        assert labels() == ["a", "a"]

    def test_ttl_may_depend_on_the_request(self):
        send(view(get_idempotency_ttl=lambda self, request: timedelta(hours=72)), key="k")

        key = IdempotencyKey.objects.get()
        assert key.expires - key.created == timedelta(hours=72)

    def test_wait_is_asked(self):
        asked = []

        def wait(self, request):
            asked.append(request)
            return 0.0

        send(view(get_idempotency_wait=wait), key="k")

        assert len(asked) == 1

    def test_fingerprint_may_be_the_views_own(self):
        charges = view(get_idempotency_fingerprint=lambda self, request: Fingerprint.of(b"all the same"))

        send(charges, key="k", body=b'{"amount": 1}')

        assert is_replay(send(charges, key="k", body=b'{"amount": 2}'))

    def test_response_may_be_left_out(self):
        charges = view(should_store_response=lambda self, response: response.status_code != 201)

        assert send(charges, key="k").status_code == 201
        assert labels() == []
        assert not IdempotencyKey.objects.exists()


class TestMixin:
    def test_behind_the_views_class_is_refused(self):
        with pytest.raises(UsageError, match=r"class Wrong\(IdempotencyMixin, …\)"):

            class Wrong(APIView, IdempotencyMixin):
                pass

    def test_attribute_that_cannot_be_meant_is_refused(self):
        with pytest.raises(UsageError, match="ttl must be a timedelta"):

            class Wrong(IdempotencyMixin, APIView):
                idempotency_ttl = -1

    def test_attribute_may_be_given_to_as_view(self):
        assert send(Charges.as_view(idempotency_required=True)).status_code == 400

    def test_malformed_key_is_refused_before_authentication(self):
        class Refusing(BasePermission):
            def has_permission(self, request, view):
                raise PermissionDenied

        charges = view(permission_classes=[Refusing])

        assert send(charges, key='"').status_code == 400
        assert send(charges, key="k").status_code == 403

    def test_missing_key_is_refused_after_permissions(self):
        class Refusing(BasePermission):
            def has_permission(self, request, view):
                raise PermissionDenied

        assert send(view(permission_classes=[Refusing], idempotency_required=True)).status_code == 403

    def test_methods_without_a_handler_stay_405(self):
        assert send(view(), "PATCH", key="k").status_code == 405
        assert not IdempotencyKey.objects.exists()

    def test_refusal_goes_through_the_exception_handler(self):
        def handle(self):
            return lambda exc, context: Response({"code": exc.get_codes(), "retryable": exc.retryable}, exc.status_code)

        response = send(view(idempotency_required=True, get_exception_handler=handle))

        assert response.json() == {"code": "idempotency_key_missing", "retryable": False}


class TestPermissionThatReadsTheBody:
    @pytest.fixture
    def charges(self):
        class Reading(BasePermission):
            def has_permission(self, request, view):
                return "amount" in request.data

        def post(self, request):
            effect("a")
            return Response({name: str(value) for name, value in request.data.items()}, status=201)

        return view(permission_classes=[Reading], post=post)

    @pytest.mark.parametrize(
        ("content_type", "first", "retry", "other"),
        [
            ("application/json", b'{"amount": 1.5, "b": 2}', b'{"b":2,"amount":1.50}', b'{"amount": 1.6, "b": 2}'),
            ("application/x-www-form-urlencoded", b"amount=1&b=2", b"b=2&amount=1", b"amount=2&b=2"),
        ],
        ids=["json", "form"],
    )
    def test_meaning_counts(self, charges, content_type, first, retry, other):
        answers = [send(charges, key="k", body=body, content_type=content_type) for body in (first, retry, other)]

        assert [answer.status_code for answer in answers] == [201, 201, 409]
        assert [is_replay(answer) for answer in answers] == [False, True, False]
        assert labels() == ["a"]

    @pytest.mark.parametrize(
        ("content_type", "decode", "bodies"),
        [
            (
                "application/json",
                json.loads,
                (b'{"amount": 1.5, "b": 2}', b'{"b":2,"amount":1.50}', b'{"amount": 1.6}'),
            ),
            ("application/x-www-form-urlencoded", QueryDict, (b"amount=1&b=2", b"b=2&amount=1", b"amount=2&b=2")),
        ],
        ids=["json", "form"],
    )
    def test_parser_that_consumes_the_stream(self, charges, content_type, decode, bodies):
        class Consuming(BaseParser):
            media_type = content_type

            def parse(self, stream, media_type=None, parser_context=None):
                return decode(stream.read())

        consuming = view(permission_classes=charges.cls.permission_classes, parser_classes=[Consuming])

        answers = [send(consuming, key="k", body=body, content_type=content_type) for body in bodies]

        assert [answer.status_code for answer in answers] == [201, 201, 409]
        assert labels() == ["a"]

    def test_uploads_stay_uploads(self, charges):
        def upload(content):
            with override_settings(ROOT_URLCONF=(re_path("", charges),)):
                data = {"amount": "1", "file": SimpleUploadedFile("a.txt", content)}
                return Client().post("/charges/", data, headers={"Idempotency-Key": "k"})

        answers = [upload(content) for content in (b"content", b"content", b"other")]

        assert [answer.status_code for answer in answers] == [201, 201, 409]
        assert answers[0].json() == {"amount": "1", "file": "a.txt"}
        assert labels() == ["a"]


class TestFinalizedOnce:
    def test_views_own_finalize_response_runs_once_and_is_stored(self):
        calls = []

        def finalize_response(self, request, response, *args, **kwargs):
            calls.append(response)
            response.data = {"data": response.data}
            return APIView.finalize_response(self, request, response, *args, **kwargs)

        charges = view(finalize_response=finalize_response)

        first = send(charges, key="k")

        assert first.json() == {"data": {"charged": True}}
        assert len(calls) == 1
        retry = send(charges, key="k")
        assert (retry.content, is_replay(retry)) == (first.content, True)

    def test_replay_has_the_headers_that_drf_adds(self):
        charges = view()

        first, retry = (send(charges, key="k") for _ in range(2))

        assert is_replay(retry)
        assert {name: retry.headers[name] for name in ("Allow", "Vary")} == {
            name: first.headers[name] for name in ("Allow", "Vary")
        }

    def test_response_of_an_exception_is_finalized_once(self):
        calls = []

        def post(self, request):
            effect("a")
            raise PermissionDenied

        def finalize_response(self, request, response, *args, **kwargs):
            calls.append(response)
            return APIView.finalize_response(self, request, response, *args, **kwargs)

        response = send(view(post=post, finalize_response=finalize_response), key="k")

        assert (response.status_code, len(calls)) == (403, 1)
        assert labels() == []

    def test_browsable_api_is_replayed(self):
        charges = view(renderer_classes=[JSONRenderer, BrowsableAPIRenderer])
        user = UserFactory.create()

        first, retry = (send(charges, key="k", user=user, headers={"Accept": "text/html"}) for _ in range(2))

        assert first.status_code == 201
        assert first.headers["Content-Type"].startswith("text/html")
        assert (retry.content, is_replay(retry)) == (first.content, True)

    def test_original_parameters_reach_the_handler(self):
        def post(self, request):
            return Response(request.data, status=201)

        body = json.dumps({"b": [1, {"c": None}], "a": 1.5})

        assert send(view(post=post), key="k", body=body).json() == json.loads(body)
