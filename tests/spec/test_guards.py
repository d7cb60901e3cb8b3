"""What is known of a view without a request: its methods, what guards it, whether it needs no keys."""

from functools import partial
from typing import Any

import pytest
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.utils.decorators import method_decorator
from django.views import generic
from django.views.decorators.cache import never_cache
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_http_methods, require_POST, require_safe
from rest_framework.decorators import action, api_view
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView
from rest_framework.viewsets import ViewSet

from django_idempotency.decorators import idempotency_exempt, idempotent
from django_idempotency.drf import IdempotencyMixin
from django_idempotency.guards import METHODS, View

ALL = list(METHODS)
BOTH = ["POST", "PATCH"]


def function(request: HttpRequest) -> HttpResponse:
    return HttpResponse()


async def coroutine(request: HttpRequest) -> HttpResponse:
    return HttpResponse()


class Instance:
    def __call__(self, request: HttpRequest) -> HttpResponse:
        return HttpResponse()


class DjangoView(generic.View):
    def get(self, request: HttpRequest) -> HttpResponse:
        return HttpResponse()

    def post(self, request: HttpRequest) -> HttpResponse:
        return HttpResponse()


@method_decorator(idempotent, name="post")
class GuardedHandler(DjangoView):
    pass


@method_decorator(idempotent(methods=["POST", "GET"]), name="dispatch")
class GuardedDispatch(DjangoView):
    pass


class OwnDispatch(generic.View):
    def dispatch(self, request: HttpRequest) -> HttpResponse:
        return HttpResponse()


class MixinOnDjangoView(IdempotencyMixin, DjangoView):
    pass


class MixedIn(IdempotencyMixin, APIView):
    def get(self, request: Request) -> Response:
        return Response()

    def post(self, request: Request) -> Response:
        return Response()


class OwnAnswers(MixedIn):
    def get_idempotency_ttl(self, request: Request) -> float:
        return 1.0

    def get_idempotency_scope(self, request: Request) -> str:
        return "it"


class GuardedMethod(APIView):
    @idempotent
    def post(self, request: Request) -> Response:
        return Response()

    def patch(self, request: Request) -> Response:
        return Response()


class Actions(ViewSet):
    def create(self, request: Request) -> Response:
        return Response()

    @action(detail=False, methods=["post"])
    @idempotent
    def refund(self, request: Request) -> Response:
        return Response()

    @idempotency_exempt
    @action(detail=False, methods=["post"])
    def search(self, request: Request) -> Response:
        return Response()


class MixedInActions(IdempotencyMixin, ViewSet):
    def create(self, request: Request) -> Response:
        return Response()


@api_view(["POST", "PUT"])
@idempotent
def guarded_api_view(request: Request) -> Response:
    return Response()


@idempotency_exempt
@api_view(["POST"])
def api_view_exempt_above(request: Request) -> Response:
    return Response()


@api_view(["POST"])
@idempotency_exempt
def api_view_exempt_below(request: Request) -> Response:
    return Response()


@method_decorator(idempotency_exempt, name="post")
class ExemptHandler(DjangoView):
    def patch(self, request: HttpRequest) -> HttpResponse:
        return HttpResponse()


@idempotency_exempt
class ExemptView(MixedIn):
    idempotency_methods = ()


class InheritsExemption(ExemptView):
    pass


class NotExemptAnyMore(ExemptView):
    idempotency_exempt = False


class TestView:
    @pytest.mark.parametrize(
        ("callback", "methods"),
        [
            (function, ALL),
            (partial(function), ALL),
            (Instance(), ALL),
            (require_POST(function), ["POST"]),
            (require_POST(coroutine), ["POST"]),
            (csrf_exempt(require_POST(login_required(function))), ["POST"]),
            (require_http_methods(["POST", "PUT"])(require_POST(function)), ["POST"]),
            (require_safe(function), ["GET"]),
            (DjangoView.as_view(), ["GET", "POST"]),
            (DjangoView.as_view(http_method_names=["post"]), ["POST"]),
            (require_POST(DjangoView.as_view()), ["POST"]),
            (OwnDispatch.as_view(), ALL),
            (OwnDispatch.as_view(http_method_names=["post"]), ["POST"]),
            (MixedIn.as_view(), ["GET", "POST"]),
            (Actions.as_view({"post": "create", "patch": "refund"}), BOTH),
            (Actions.as_view({"post": "create", "patch": "refund"}, http_method_names=["post"]), ["POST"]),
            (guarded_api_view, ["POST", "PUT"]),
        ],
    )
    def test_methods(self, callback, methods):
        assert View(callback).methods == methods

    @pytest.mark.parametrize(
        ("callback", "guarded"),
        [
            (function, []),
            (idempotent(function), BOTH),
            (idempotent(coroutine), BOTH),
            (partial(idempotent(function)), BOTH),
            (idempotent(methods=["PUT"])(function), ["PUT"]),
            (csrf_exempt(login_required(never_cache(idempotent(function)))), BOTH),
            (DjangoView.as_view(), []),
            (idempotent(DjangoView.as_view()), BOTH),
            (GuardedHandler.as_view(), ["POST"]),
            (csrf_exempt(GuardedHandler.as_view()), ["POST"]),
            (GuardedDispatch.as_view(), ["GET", "POST"]),
            (MixinOnDjangoView.as_view(), []),
            (MixedIn.as_view(), ["POST"]),
            (MixedIn.as_view(idempotency_methods=["GET"]), ["GET"]),
            (GuardedMethod.as_view(), ["POST"]),
            (Actions.as_view({"post": "create", "patch": "refund"}), ["PATCH"]),
            (MixedInActions.as_view({"post": "create", "get": "create"}), ["POST"]),
            (guarded_api_view, ["POST"]),
            (csrf_exempt(guarded_api_view), ["POST"]),
        ],
    )
    def test_guarded_methods(self, callback, guarded):
        view = View(callback)

        assert [method for method in METHODS if view.specification_of(method)] == guarded

    def test_arguments_are_those_of_the_decorator(self):
        specification = View(csrf_exempt(idempotent(required=True, ttl=60)(function))).specification_of("POST")

        assert specification is not None
        assert specification.required is True
        assert specification.policy.ttl == 60

    def test_arguments_are_those_of_as_view(self):
        specification = View(MixedIn.as_view(idempotency_required=True)).specification_of("POST")

        assert specification is not None
        assert specification.required is True

    def test_methods_that_a_view_overrides_are_told(self):
        specification = View(OwnAnswers.as_view()).specification_of("POST")

        assert specification is not None
        assert specification.overrides == {
            "ttl": OwnAnswers.get_idempotency_ttl,
            "scope": OwnAnswers.get_idempotency_scope,
        }
        assert specification.ttl is None
        assert specification.required is False

    @pytest.mark.parametrize(
        ("callback", "exempt"),
        [
            (function, []),
            (csrf_exempt(idempotency_exempt(login_required(function))), ALL),
            (idempotency_exempt(DjangoView.as_view()), ALL),
            (ExemptHandler.as_view(), ["POST"]),
            (ExemptView.as_view(), ALL),
            (InheritsExemption.as_view(), ALL),
            (NotExemptAnyMore.as_view(), []),
            (Actions.as_view({"post": "search", "patch": "create"}), ["POST"]),
            (api_view_exempt_above, ALL),
            (api_view_exempt_below, ["POST"]),
        ],
    )
    def test_exempt_methods(self, callback, exempt):
        view = View(callback)

        assert [method for method in METHODS if view.is_exempt(method)] == exempt

    @pytest.mark.parametrize(
        ("callback", "name"),
        [
            (function, "function"),
            (partial(csrf_exempt(function)), "function"),
            (Instance(), "Instance"),
            (DjangoView.as_view(), "DjangoView"),
            (Actions.as_view({"post": "create"}), "Actions"),
            (guarded_api_view, "guarded_api_view"),
        ],
    )
    def test_name(self, callback, name):
        assert View(callback).name == f"tests.spec.test_guards.{name}"


class TestIdempotencyExempt:
    def test_view_stays_what_it_is(self):
        def view(request: Any) -> HttpResponse:
            return HttpResponse()

        assert idempotency_exempt(view) is view
