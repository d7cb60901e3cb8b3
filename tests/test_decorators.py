"""One decorator for every kind of view."""

import asyncio
import inspect
import json
import warnings
from datetime import timedelta
from typing import Any

import pytest
from asgiref.sync import async_to_sync, iscoroutinefunction, sync_to_async
from asgiref.testing import ApplicationCommunicator
from django.contrib.auth.decorators import login_required
from django.core.asgi import get_asgi_application
from django.db import connection, connections
from django.http import HttpRequest, HttpResponse, JsonResponse, StreamingHttpResponse
from django.test import RequestFactory, override_settings
from django.test.utils import CaptureQueriesContext
from django.urls import re_path
from django.utils import timezone
from django.utils.decorators import method_decorator
from django.views import View
from django.views.decorators.csrf import csrf_exempt
from django.views.generic import FormView
from rest_framework import viewsets
from rest_framework.decorators import api_view
from rest_framework.response import Response
from rest_framework.views import APIView

from django_idempotency.decorators import idempotent
from django_idempotency.exceptions import KeyInvalid, UsageError
from django_idempotency.execution import execute
from django_idempotency.keys import validate_uuid
from django_idempotency.models import IdempotencyKey
from tests.app.models import Effect
from tests.app.views import effect
from tests.coroutines import Stop
from tests.doors import (
    ASYNC_DOORS,
    DJANGO_DOORS,
    DOORS,
    DRF_DECORATED_DOORS,
    below_api_view,
    coroutine,
    decorated_class,
    decorated_coroutine_method,
    function,
    mixin,
    send,
)
from tests.factories import UserFactory
from tests.gate import pass_gate
from tests.operations import CODEC, expire_keys, labels, operation
from tests.threads import together

DECORATED_DOORS = [*DJANGO_DOORS, *ASYNC_DOORS, *DRF_DECORATED_DOORS]
rf = RequestFactory()

every_door = pytest.mark.parametrize("door", DOORS)
doors_for_every_method = pytest.mark.parametrize(
    "door", [door for door in DOORS if door not in {decorated_class, decorated_coroutine_method}]
)
every_decorated_door = pytest.mark.parametrize("door", DECORATED_DOORS)
django_doors = pytest.mark.parametrize("door", [*DJANGO_DOORS, *ASYNC_DOORS])
every_server = pytest.mark.parametrize("asgi", [False, True], ids=["WSGI", "ASGI"])


def charge(request):
    """Leave an effect that the request names, and say how many there are."""
    effect(request.headers.get("X-Label", "a"))
    return JsonResponse({"effects": labels()}, status=201)


def code(response):
    """Return the code of a refusal, from Django's views and from REST framework's."""
    refusal = json.loads(response.content)
    return refusal["code"] if "code" in refusal else refusal["detail"]


@pytest.mark.django_db
class TestIdempotent:
    @every_server
    @every_door
    def test_retry_replays(self, door, asgi):
        view = door(charge)
        first = send(view, key="k", asgi=asgi)

        second = send(view, key="k", asgi=asgi)

        assert (first.status_code, second.status_code) == (201, 201), first.content
        assert second.content == first.content
        assert "Idempotent-Replayed" not in first.headers
        assert second.headers["Idempotent-Replayed"] == "true"
        assert labels() == ["a"]

    @every_door
    def test_row_tells_what_was_asked(self, door):
        before = timezone.now()
        send(door(charge), path="/charges/?a=b", key="k")

        row = IdempotencyKey.objects.get()
        assert (row.namespace, row.scope, row.key) == ("http", "anonymous", "k")
        assert (row.method, row.path, row.status) == ("POST", "/charges/", 201)
        assert row.created >= before
        assert row.expires - row.created == timedelta(hours=24)

    @every_door
    def test_request_without_key_runs_as_if_the_view_was_not_decorated(self, door):
        view = door(charge)

        responses = [send(view), send(view)]

        assert [response.status_code for response in responses] == [201, 201]
        assert labels() == ["a", "a"]
        assert not IdempotencyKey.objects.exists()

    @every_door
    def test_other_methods_run_as_if_the_view_was_not_decorated(self, door):
        view = door(charge)

        responses = [send(view, "GET", key="k"), send(view, "GET", key=" ")]

        assert [response.status_code for response in responses] == [201, 201]
        assert labels() == ["a", "a"]
        assert not IdempotencyKey.objects.exists()

    @every_door
    def test_required_key_that_is_missing_is_refused(self, door):
        response = send(door(charge, required=True))

        assert response.status_code == 400
        assert labels() == []

    @every_door
    @pytest.mark.parametrize("key", [" ", "a,b", "k" * 256])
    def test_malformed_key_is_refused_before_any_query(self, door, key):
        view = door(charge)

        with CaptureQueriesContext(connection) as queries:
            response = send(view, key=key)

        assert response.status_code == 400
        assert len(queries) == 0

    @every_door
    @pytest.mark.parametrize(
        "other",
        [
            {"path": "/refunds/"},
            {"path": "/charges/?a=b"},
            {"body": '{"amount": 2}'},
            {"content_type": "application/x-www-form-urlencoded", "body": "amount=1"},
        ],
        ids=repr,
    )
    def test_key_reused_for_another_request_is_refused(self, door, other):
        view = door(charge)
        send(view, key="k", body='{"amount": 1}')

        response = send(view, key="k", **{"body": '{"amount": 1}', **other})

        assert response.status_code == 409
        assert labels() == ["a"]

    @doors_for_every_method
    def test_key_reused_for_another_method_is_refused(self, door):
        view = door(charge)
        send(view, key="k")

        response = send(view, "PATCH", key="k")

        assert response.status_code == 409
        assert labels() == ["a"]

    @every_door
    def test_reordered_json_is_the_same_request(self, door):
        view = door(charge)
        send(view, key="k", body='{"a": 1, "b": 2}')

        response = send(view, key="k", body='{"b": 2, "a": 1}')

        assert response.headers["Idempotent-Replayed"] == "true"

    @every_door
    def test_two_users_with_one_key_get_an_answer_each(self, door):
        view = door(charge)
        users = UserFactory.create_batch(2)

        responses = [send(view, key="k", user=user) for user in [*users, *users, None]]

        assert [response.status_code for response in responses] == [201] * 5
        assert ["Idempotent-Replayed" in response.headers for response in responses] == [
            False,
            False,
            True,
            True,
            False,
        ]
        assert labels() == ["a"] * 3
        assert set(IdempotencyKey.objects.values_list("scope", flat=True)) == {
            "anonymous",
            *(f"user:{user.pk}" for user in users),
        }

    @every_door
    def test_expired_key_runs_again(self, door):
        view = door(charge)
        send(view, key="k")
        expire_keys()

        response = send(view, key="k")

        assert "Idempotent-Replayed" not in response.headers
        assert labels() == ["a", "a"]

    @every_door
    def test_reused_status_is_a_setting(self, door, settings):
        settings.IDEMPOTENCY_REUSED_STATUS = 422
        view = door(charge)
        send(view, key="k", body="1")

        assert send(view, key="k", body="2").status_code == 422

    @every_door
    def test_response_too_large_to_store_is_sent_once(self, door):
        view = door(charge, max_response_bytes=1)

        responses = [send(view, key="k"), send(view, key="k")]

        assert [response.status_code for response in responses] == [201, 409]
        assert json.loads(responses[0].content) == {"effects": ["a"]}
        assert b"status 201" in responses[1].content
        assert labels() == ["a"]

    @every_door
    def test_tombstone_refuses(self, door, settings):
        settings.IDEMPOTENCY_TOMBSTONE_TTL = 3600
        view = door(charge)
        send(view, key="k")
        expire_keys()

        response = send(view, key="k")

        assert response.status_code == 409
        assert b"has expired" in response.content
        assert labels() == ["a"]

    @every_door
    def test_view_that_calls_a_guarded_view_guards_both_as_one(self, door):
        inner = idempotent(charge)

        def outer(request):
            effect("outer")
            return inner(getattr(request, "_request", request))

        view = door(outer)

        responses = [send(view, key="k"), send(view, key="k")]

        assert [response.status_code for response in responses] == [201, 201]
        assert responses[1].headers["Idempotent-Replayed"] == "true"
        assert labels() == ["outer", "a"]
        assert IdempotencyKey.objects.count() == 1


class TestArguments:
    """Each argument, at every door that takes arguments; the mixin takes them as attributes."""

    @every_door
    @pytest.mark.django_db
    def test_required_false_beats_the_settings(self, door, settings):
        settings.IDEMPOTENCY_REQUIRED = True

        assert send(door(charge)).status_code == 400
        assert send(door(charge, required=False)).status_code == 201

    @every_door
    @pytest.mark.django_db
    @pytest.mark.parametrize("ttl", [timedelta(minutes=5), 300])
    def test_ttl(self, door, ttl):
        send(door(charge, ttl=ttl), key="k")

        row = IdempotencyKey.objects.get()
        assert row.expires - row.created == timedelta(minutes=5)

    @every_decorated_door
    @pytest.mark.django_db
    def test_scope(self, door):
        view = door(charge, scope=lambda request: request.headers["X-Tenant"])

        for tenant in ("a", "b", "a"):
            send(view, key="k", headers={"X-Tenant": tenant, "X-Label": tenant})

        assert labels() == ["a", "b"]

    @doors_for_every_method
    @pytest.mark.django_db
    def test_methods(self, door):
        view = door(charge, methods=("PUT", "DELETE"))

        for method in ("PUT", "PUT", "DELETE", "POST", "POST"):
            send(view, method, key=method, headers={"X-Label": method})

        assert labels() == ["PUT", "DELETE", "POST", "POST"]

    @every_door
    @pytest.mark.django_db(databases=["default", "other"])
    def test_using(self, door):
        def handler(request):
            effect("a", using="other")
            return JsonResponse({}, status=201)

        view = door(handler, using="other")

        responses = [send(view, key="k"), send(view, key="k")]

        assert [response.status_code for response in responses] == [201, 201]
        assert labels("other") == ["a"]
        assert IdempotencyKey.objects.using("other").count() == 1
        assert not IdempotencyKey.objects.using("default").exists()

    @every_door
    @pytest.mark.django_db
    def test_stored_statuses(self, door):
        def handler(request):
            effect("a")
            return JsonResponse({}, status=409)

        forgetting, keeping = door(handler), door(handler, stored_statuses=[409])

        assert send(forgetting, key="k").status_code == 409
        assert labels() == []
        assert send(keeping, key="k").status_code == 409
        assert send(keeping, key="k").headers["Idempotent-Replayed"] == "true"
        assert labels() == ["a"]

    @every_door
    @pytest.mark.django_db
    def test_stored_headers(self, door):
        def handler(request):
            return HttpResponse(headers={"X-Request-Id": "1", "X-Other": "2"})

        view = door(handler, stored_headers=["x-request-id"])
        first, second = send(view, key="k"), send(view, key="k")

        assert (first["X-Request-Id"], first["X-Other"]) == ("1", "2")
        assert second["X-Request-Id"] == "1"
        assert "X-Other" not in second

    @every_door
    @pytest.mark.django_db
    def test_ignored_fields(self, door):
        view = door(charge, ignored_fields=["at"])

        send(view, key="k", body='{"amount": 1, "at": 1}')
        replayed = send(view, key="k", body='{"amount": 1, "at": 2}')
        refused = send(view, key="k", body='{"amount": 2, "at": 1}')

        assert replayed.headers["Idempotent-Replayed"] == "true"
        assert refused.status_code == 409

    @every_decorated_door
    @pytest.mark.django_db
    def test_key_validator(self, door):
        view = door(charge, key_validator=validate_uuid)

        assert send(view, key="k").status_code == 400
        assert send(view, key="123e4567-e89b-42d3-a456-426614174000").status_code == 201
        assert labels() == ["a"]

    @pytest.mark.parametrize("door", [function, coroutine, below_api_view, mixin])
    @pytest.mark.django_db(transaction=True)
    @pytest.mark.engine("postgresql", "mariadb")
    def test_wait(self, door, gate):
        def handler(request):
            effect("a")
            pass_gate(gate.path)
            return JsonResponse({}, status=201)

        impatient, patient = door(handler), door(handler, wait=20)

        def retry():
            visitor = gate.wait()
            refused = send(impatient, key="k")
            visitor.open()
            return refused, send(patient, key="k")

        with override_settings():
            first, (refused, replayed) = together([lambda: send(impatient, key="k"), retry])

        assert first.status_code == 201
        assert (refused.status_code, refused["Retry-After"]) == (409, "1")
        assert replayed.headers["Idempotent-Replayed"] == "true"
        assert labels() == ["a"]


@pytest.mark.django_db
class TestProblems:
    """Views that are not REST framework's answer in problem+json; `responses` has the details."""

    @django_doors
    @every_server
    def test_refusal_is_a_problem(self, door, asgi):
        view = door(charge)
        send(view, key="k", body="1", asgi=asgi)

        response = send(view, key="k", body="2", asgi=asgi)

        assert response["Content-Type"] == "application/problem+json"
        assert code(response) == "idempotency_key_reused"

    @django_doors
    def test_refusal_out_of_the_handler_rolls_back(self, door):
        def handler(request):
            effect("a")
            raise KeyInvalid("Not this one.")

        response = send(door(handler), key="k")

        assert (response.status_code, code(response)) == (400, "idempotency_key_invalid")
        assert labels() == []

    @django_doors
    def test_programmers_mistake_is_none_of_the_client(self, door):
        response = send(door(charge, scope=lambda request: None), key="k")

        assert response.status_code == 500
        assert labels() == []


class TestDecoration:
    def test_bare_and_with_arguments_are_the_same(self):
        for decorate in (idempotent, idempotent(), idempotent(required=False)):
            assert decorate(charge).__wrapped__ is charge  # type: ignore[attr-defined]  # functools.wraps

    def test_signature_is_kept(self):
        @idempotent(required=True)
        def view(request: HttpRequest, pk: int, *, name: str = "a") -> bool:
            """Do it."""
            return True

        assert view.__name__ == "view"
        assert view.__doc__ == "Do it."
        assert str(inspect.signature(view)) == (
            "(request: django.http.request.HttpRequest, pk: int, *, name: str = 'a') -> bool"
        )

    def test_coroutine_functions_stay_coroutine_functions(self):
        @idempotent
        async def view(request):
            return HttpResponse()

        assert iscoroutinefunction(view)
        assert not iscoroutinefunction(idempotent(charge))

    def test_attributes_are_kept(self):
        assert idempotent(csrf_exempt(charge)).csrf_exempt  # type: ignore[attr-defined]  # Django's

    @pytest.mark.django_db
    def test_arguments_of_the_url_reach_the_view(self):
        @idempotent
        def view(request, pk, *, name):
            return HttpResponse(f"{pk} {name}")

        assert view(rf.post("/", headers={"Idempotency-Key": "k"}), 1, name="a").content == b"1 a"

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"ttl": "24h"}, "ttl must be a timedelta or a number of seconds"),
            ({"methods": "POST"}, "methods must be a collection of HTTP methods in upper case"),
            ({"stored_statuses": [99]}, "stored_statuses must be a collection of HTTP statuses"),
            ({"reruns": -1}, "reruns must be a whole number, 0 or more"),
        ],
        ids=str,
    )
    def test_argument_that_cannot_be_meant_is_refused(self, arguments, message):
        with pytest.raises(UsageError, match=message):
            idempotent(**arguments)

    def test_unknown_argument_is_refused(self):
        with pytest.raises(TypeError):
            idempotent(colour="red")  # type: ignore[call-overload]  # that is what is tested

    @pytest.mark.parametrize("base", [View, APIView, viewsets.ViewSet, object])
    def test_class_is_refused(self, base: Any):
        with pytest.raises(UsageError, match=r"@method_decorator\(idempotent, name=\"post\"\)"):

            @idempotent
            class Charge(base):  # type: ignore[misc]  # a class that varies
                pass

    def test_above_api_view_is_refused(self):
        with pytest.raises(UsageError, match=r'Write @api_view\(\["POST"\]\) above @idempotent'):

            @idempotent
            @api_view(["POST"])
            def view(request):
                return Response()

    def test_above_api_view_is_refused_through_other_decorators(self):
        with pytest.raises(UsageError, match="above a DRF view"):
            idempotent(csrf_exempt(api_view(["POST"])(charge)))

    @pytest.mark.parametrize("arguments", [{}, {"required": True}])
    def test_rest_frameworks_as_view_is_refused(self, arguments):
        for view in (APIView.as_view(), viewsets.ViewSet.as_view({"post": "create"})):
            with pytest.raises(UsageError, match="use IdempotencyMixin"):
                idempotent(**arguments)(view)

    @pytest.mark.parametrize("base", [APIView, viewsets.ViewSet])
    def test_rest_frameworks_dispatch_is_refused(self, base: Any):
        class Decorated(base):  # type: ignore[misc]  # a class that varies
            def post(self, request):
                return Response()

            @idempotent
            def dispatch(self, request, *args, **kwargs):
                return super().dispatch(request, *args, **kwargs)

        @method_decorator(idempotent, name="dispatch")
        class ThroughMethodDecorator(base):  # type: ignore[misc]  # a class that varies
            def post(self, request):
                return Response()

        actions = () if base is APIView else ({"post": "post"},)
        for view in (Decorated, ThroughMethodDecorator):
            with pytest.raises(UsageError, match="above a DRF view"):
                view.as_view(*actions)(rf.post("/", headers={"Idempotency-Key": "k"}))

    @pytest.mark.parametrize("view", ["POST", 1, ["POST"]])
    def test_what_is_no_view_is_refused(self, view):
        with pytest.raises(UsageError, match="takes a view"):
            idempotent(view)

    def test_call_without_a_request_is_refused(self):
        with pytest.raises(UsageError, match="found no request"):
            idempotent(charge)("no request")

    @pytest.mark.django_db
    def test_bound_method(self):
        class Service:
            def charge(self, request):
                return charge(request)

        view = idempotent(Service().charge)

        assert [send(view, key="k").status_code for _ in range(2)] == [201, 201]
        assert labels() == ["a"]

    @pytest.mark.django_db
    def test_form_view(self):
        from django import forms

        class Form(forms.Form):
            amount = forms.IntegerField()

        @method_decorator(idempotent, name="post")
        class Charge(FormView):  # type: ignore[type-arg]  # not subscriptable at run time
            form_class = Form
            template_name = "form.html"
            success_url = "/done/"

            def form_valid(self, form):
                effect(str(form.cleaned_data["amount"]))
                return super().form_valid(form)

        form: dict[str, Any] = {"content_type": "application/x-www-form-urlencoded", "body": "amount=3"}
        responses = [send(Charge.as_view(), key="k", **form) for _ in range(2)]

        assert [(response.status_code, response["Location"]) for response in responses] == [(302, "/done/")] * 2
        assert labels() == ["3"]

    @pytest.mark.django_db
    def test_what_stands_above_runs_before_a_replay(self):
        user = UserFactory.create()
        view = login_required(idempotent(scope=lambda request: "shared")(charge))

        responses = [send(view, key="k", user=asking) for asking in (user, None, user)]

        assert [response.status_code for response in responses] == [201, 302, 201]
        assert labels() == ["a"]

    @pytest.mark.django_db
    def test_view_may_execute_operations_of_its_own(self):
        @idempotent
        def view(request):
            value = execute(operation("inner"), lambda: "a", codec=CODEC).value
            return HttpResponse(value)

        assert [send(view, key="k").content for _ in range(2)] == [b"a", b"a"]
        assert IdempotencyKey.objects.count() == 2


@pytest.mark.django_db(transaction=True)
class TestAsynchronousViews:
    @every_server
    def test_may_await_the_orm_and_others(self, asgi):
        @idempotent
        async def view(request):
            await Effect.objects.acreate(label="a")
            await asyncio.sleep(0)
            user = await request.auser()
            await sync_to_async(effect)("b")
            return JsonResponse({"user": user.username, "count": await Effect.objects.acount()})

        user = UserFactory.create()
        responses = [send(view, key="k", user=user, asgi=asgi) for _ in range(2)]

        assert [json.loads(response.content)["count"] for response in responses] == [2, 2]
        assert labels() == ["a", "b"]

    @every_server
    @pytest.mark.parametrize("size", [1, 100], ids=["stored", "too large"])
    def test_may_stream_what_the_orm_reads(self, asgi, size):
        Effect.objects.bulk_create([Effect(label="x") for _ in range(size)])

        async def content():
            async for row in Effect.objects.all():
                yield row.label.encode()

        @idempotent(max_response_bytes=10)
        async def view(request):
            return StreamingHttpResponse(content())

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Django's, of asynchronous streams under WSGI.
            first, second = (send(view, key="k", asgi=asgi) for _ in range(2))

        assert first.sent == b"x" * size
        assert (second.status_code, second.sent == first.sent) == ((200, True) if size == 1 else (409, False))

    def test_client_that_goes_away_leaves_nothing_behind(self, monkeypatch):
        # The request has a thread of its own, and nobody else closes its connection.
        monkeypatch.setitem(connections.settings["default"], "CONN_MAX_AGE", 0)
        reached = Stop()

        @idempotent
        async def view(request):
            await Effect.objects.acreate(label="a")
            if "X-Second" not in request.headers:
                reached.reached.set()
                await asyncio.Event().wait()
            return HttpResponse()

        async def disconnect():
            scope = {
                "type": "http",
                "http_version": "1.1",
                "method": "POST",
                "path": "/",
                "query_string": b"",
                "headers": [(b"idempotency-key", b"k"), (b"host", b"testserver")],
            }
            communicator = ApplicationCommunicator(get_asgi_application(), scope)
            await communicator.send_input({"type": "http.request", "body": b""})
            await reached.wait()
            await communicator.send_input({"type": "http.disconnect"})
            await communicator.wait()

        with override_settings(ROOT_URLCONF=(re_path("", view),)):
            async_to_sync(disconnect)()

        assert labels() == []
        assert not IdempotencyKey.objects.exists()
        assert send(view, key="k", path="/", content_type="", headers={"X-Second": "1"}, asgi=True).status_code == 200
        assert labels() == ["a"]


@pytest.mark.django_db
class TestLargeBodies:
    @every_door
    @every_server
    def test_body_that_spills_to_disk_reaches_the_handler(self, door, asgi, settings):
        settings.FILE_UPLOAD_MAX_MEMORY_SIZE = 100
        body = json.dumps({"note": "x" * 1000})

        def handler(request):
            data = request.data if hasattr(request, "data") else json.loads(request.body)
            effect(data["note"][:3])
            return JsonResponse({}, status=201)

        view = door(handler)

        assert [send(view, key="k", body=body, asgi=asgi).status_code for _ in range(2)] == [201, 201]
        assert labels() == ["xxx"]

    @django_doors
    @every_server
    def test_body_beyond_djangos_limit_is_refused_by_the_handler_as_ever(self, door, asgi, settings):
        settings.DATA_UPLOAD_MAX_MEMORY_SIZE = 100

        def handler(request):
            effect("a")
            return HttpResponse(request.body)

        response = send(door(handler), key="k", body=json.dumps("x" * 1000), asgi=asgi)

        assert response.status_code == 400
        assert labels() == []

    def test_stream_that_was_consumed_is_told_to_the_programmer(self):
        request = rf.post("/", b"{}", content_type="application/json", headers={"Idempotency-Key": "k"})
        request.read()

        with pytest.raises(UsageError, match="as a stream"):
            idempotent(charge)(request)

    def test_stream_may_be_read_by_the_handler(self):
        def handler(request):
            return HttpResponse(request.read())

        assert [send(idempotent(handler), key="k", body='{"a": 1}').content for _ in range(2)] == [b'{"a": 1}'] * 2
