"""Operations of several steps behind each kind of view that takes them."""

import pytest
from django.http import HttpResponse, JsonResponse
from django.test import RequestFactory
from django.utils.decorators import method_decorator
from django.views import View as DjangoView
from rest_framework import viewsets
from rest_framework.decorators import action, api_view
from rest_framework.exceptions import APIException
from rest_framework.response import Response
from rest_framework.views import APIView

from django_idempotency.decorators import idempotent
from django_idempotency.drf import IdempotencyMixin
from django_idempotency.exceptions import UsageError
from django_idempotency.models import IdempotencyKey
from django_idempotency.policy import Policy
from django_idempotency.steps import Abort, SteppedOperation
from tests.app.views import effect
from tests.doors import ACTIONS, send
from tests.operations import labels
from tests.steps.stepping import leave

pytestmark = pytest.mark.django_db(transaction=True)


def function(handler, **options):
    @idempotent(steps=True, **options)
    def view(request, *, operation):
        return handler(request, operation)

    return view


def django_class(handler, **options):
    @method_decorator(idempotent(steps=True, **options), name="post")
    class View(DjangoView):
        def post(self, request, *, operation):
            return handler(request, operation)

    return View.as_view()


def below_api_view(handler, **options):
    @api_view(["GET", "POST"])
    @idempotent(steps=True, **options)
    def view(request, *, operation):
        return handler(request, operation)

    return view


def api_view_method(handler, **options):
    class View(APIView):
        @idempotent(steps=True, **options)
        def post(self, request, *, operation):
            return handler(request, operation)

    return View.as_view()


def below_action(handler, **options):
    class ViewSet(viewsets.ViewSet):
        @action(detail=False, methods=["post"])
        @idempotent(steps=True, **options)
        def charge(self, request, *, operation):
            return handler(request, operation)

    return ViewSet.as_view(ACTIONS)


def mixin(handler, **options):
    attributes = {f"idempotency_{name}": value for name, value in options.items()}

    class View(IdempotencyMixin, APIView):
        idempotency_steps = True
        locals().update(attributes)

        def post(self, request, *, operation):
            return handler(request, operation)

    return View.as_view()


DRF_DOORS = [below_api_view, api_view_method, below_action, mixin]
DOORS = [function, django_class, *DRF_DOORS]


def answer(request, content, status):
    """Return the kind of response that the view's framework has."""
    return Response(content, status=status) if hasattr(request, "_request") else JsonResponse(content, status=status)


@pytest.mark.parametrize("door", DOORS)
class TestDoor:
    def test_runs_once_and_replays(self, door):
        def handler(request, operation):
            assert isinstance(operation, SteppedOperation)
            return answer(request, {"id": operation.step("a", leave("a", 1))}, 201)

        view = door(handler)
        first = send(view, key="1")
        second = send(view, key="1")

        assert first.status_code == second.status_code == 201
        assert first.content == second.content
        assert "Idempotent-Replayed" not in first
        assert second["Idempotent-Replayed"] == "true"
        assert labels() == ["a"]

    def test_goes_on_after_an_error(self, door):
        failures = [True]

        def handler(request, operation):
            operation.step("a", lambda: effect("a"))
            if failures:
                raise ValueError(failures.pop())
            operation.step("b", lambda: effect("b"))
            return answer(request, {}, 201)

        view = door(handler)

        assert send(view, key="1").status_code == 500
        assert send(view, key="1").status_code == 201
        assert labels() == ["a", "b"]

    def test_abort_is_undone_and_replayed(self, door):
        def handler(request, operation):
            operation.step("a", lambda: effect("a"), undo=lambda result: effect("undone"))
            raise Abort(answer(request, {"detail": "declined"}, 402))

        view = door(handler)
        responses = [send(view, key="1"), send(view, key="1")]

        assert [response.status_code for response in responses] == [402, 402]
        assert responses[0].content == responses[1].content
        assert labels() == ["a", "undone"]

    def test_held_call_is_refused(self, door):
        def call(key):
            effect("called")
            raise ValueError

        def handler(request, operation):
            operation.call("charge", call, if_uncertain="hold")

        view = door(handler)
        assert send(view, key="1").status_code == 500
        response = send(view, key="1")

        assert response.status_code == 409
        assert response["Retry-After"] == "1"
        if door not in DRF_DOORS:
            assert response.json()["code"] == "idempotency_outcome_uncertain"
        assert labels() == ["called"]

    def test_key_is_required(self, door):
        view = door(lambda request, operation: effect("a"))

        assert send(view).status_code == 400
        assert labels() == []

    def test_status_that_is_not_stored_lets_a_retry_go_on(self, door):
        statuses = iter([503, 201])

        def handler(request, operation):
            operation.step("a", lambda: effect("a"))
            return answer(request, {}, next(statuses))

        view = door(handler)

        assert [send(view, key="1").status_code for _ in range(3)] == [503, 201, 201]
        assert labels() == ["a"]

    def test_refused_request_leaves_no_key(self, door):
        view = door(lambda request, operation: answer(request, {}, 400))

        assert send(view, key="1").status_code == 400
        assert not IdempotencyKey.objects.exists()


class TestIdempotent:
    def test_unguarded_method_gets_no_operation(self):
        view = function(lambda request, operation: HttpResponse(repr(operation)))

        assert send(view, "GET", key="1").content == b"None"

    def test_within_another_operation_is_refused(self):
        inner = function(lambda request, operation: effect("a"))

        @idempotent
        def outer(request):
            return inner(request)

        with pytest.raises(UsageError, match="within another operation"):
            outer(RequestFactory().post("/", headers={"Idempotency-Key": "1"}))

        assert labels() == []

    def test_coroutine_is_refused_at_decoration(self):
        with pytest.raises(UsageError, match="plain function"):

            @idempotent(steps=True)
            async def view(request, *, operation): ...

    def test_api_exception_leaves_what_is_recorded(self):
        failures = [APIException()]

        def handler(request, operation):
            operation.step("a", lambda: effect("a"))
            if failures:
                raise failures.pop()
            return Response({}, status=201)

        view = mixin(handler)

        assert [send(view, key="1").status_code for _ in range(2)] == [500, 201]
        assert labels() == ["a"]

    def test_mixin_requires_a_key_whatever_the_view_says(self):
        class View(IdempotencyMixin, APIView):
            idempotency_steps = True

            def is_idempotency_required(self, request):
                return False

            def post(self, request, *, operation):
                effect("a")

        assert send(View.as_view()).status_code == 400
        assert labels() == []


class TestPolicy:
    @pytest.mark.parametrize("arguments", [{"lease": 30}, {"keep_request": True}], ids=str)
    def test_refuses_what_is_for_steps_alone(self, arguments):
        with pytest.raises(UsageError, match="steps=True"):
            Policy(**arguments)

    def test_refuses_steps_without_keys(self):
        with pytest.raises(UsageError, match="needs a key"):
            Policy(steps=True, required=False)

    def test_lease_is_asked_of_the_settings(self, settings):
        settings.IDEMPOTENCY_LEASE = 7

        assert Policy(steps=True).get_lease().total_seconds() == 7
        assert Policy(steps=True, lease=9).get_lease().total_seconds() == 9
