"""What drf-spectacular publishes of guarded views, without a line in the settings."""

import json
import re
from typing import Any

import pytest
from django.apps import apps
from django.test import modify_settings
from django.urls import path
from django.utils.translation import gettext_lazy
from drf_spectacular.drainage import GENERATOR_STATS
from drf_spectacular.extensions import OpenApiViewExtension
from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.openapi import AutoSchema
from drf_spectacular.renderers import OpenApiJsonRenderer, OpenApiYamlRenderer
from drf_spectacular.settings import patched_settings
from drf_spectacular.utils import OpenApiExample, OpenApiParameter, OpenApiResponse, extend_schema, extend_schema_view
from drf_spectacular.validation import validate_schema
from openapi_spec_validator import validate
from rest_framework import generics, serializers
from rest_framework.decorators import action, api_view
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.routers import SimpleRouter
from rest_framework.views import APIView
from rest_framework.viewsets import GenericViewSet

from django_idempotency.decorators import idempotent
from django_idempotency.drf import IdempotencyMixin

VERSIONS = ["3.0.3", "3.1.1"]
CODES = {
    "400": ["idempotency_key_invalid", "idempotency_key_missing"],
    "409": [
        "idempotency_request_in_progress",
        "idempotency_key_reused",
        "idempotency_response_not_stored",
        "idempotency_response_expired",
    ],
}


class ChargeSerializer(serializers.Serializer[Any]):
    amount = serializers.IntegerField()


class ConflictSerializer(serializers.Serializer[Any]):
    reason = serializers.CharField()


class ChargeViewSet(IdempotencyMixin, GenericViewSet[Any]):
    serializer_class = ChargeSerializer
    idempotency_required = True

    def list(self, request: Request) -> Response:
        return Response([])

    def create(self, request: Request) -> Response:
        return Response(status=201)

    @action(detail=False, methods=["post"])
    def refund(self, request: Request) -> Response:
        return Response()

    @extend_schema(responses={202: ChargeSerializer})
    @action(detail=False, methods=["post"])
    def capture(self, request: Request) -> Response:
        return Response(status=202)


class DecoratedViewSet(GenericViewSet[Any]):
    serializer_class = ChargeSerializer

    @idempotent(required=True)
    def create(self, request: Request) -> Response:
        return Response(status=201)

    @action(detail=False, methods=["post"])
    @idempotent(required=True)
    def refund(self, request: Request) -> Response:
        return Response()

    @extend_schema(responses={202: ChargeSerializer})
    @action(detail=False, methods=["post"])
    @idempotent(required=True)
    def capture(self, request: Request) -> Response:
        return Response(status=202)


class OrderView(generics.GenericAPIView[Any]):
    serializer_class = ChargeSerializer

    def get(self, request: Request) -> Response:
        return Response()

    @idempotent(required=True)
    def post(self, request: Request) -> Response:
        return Response()


class ExtendedView(APIView):
    @extend_schema(request=ChargeSerializer, responses={201: ChargeSerializer})
    @idempotent(required=True)
    def post(self, request: Request) -> Response:
        return Response()


class ExtendedBelowView(APIView):
    @idempotent(required=True)
    @extend_schema(request=ChargeSerializer, responses={201: ChargeSerializer})
    def post(self, request: Request) -> Response:
        return Response()


@extend_schema_view(post=extend_schema(request=ChargeSerializer, responses={201: ChargeSerializer}))
class ExtendedClassView(IdempotencyMixin, APIView):
    idempotency_required = True

    def post(self, request: Request) -> Response:
        return Response()


@extend_schema(request=ChargeSerializer, responses={201: ChargeSerializer})
class ExtendedWholeView(IdempotencyMixin, APIView):
    idempotency_required = True

    def post(self, request: Request) -> Response:
        return Response()


@extend_schema(request=ChargeSerializer, responses={201: ChargeSerializer})
@api_view(["POST"])
@idempotent(required=True)
def function(request: Request) -> Response:
    return Response()


@extend_schema_view(post=extend_schema(request=ChargeSerializer, responses={201: ChargeSerializer}))
@api_view(["POST"])
@idempotent(required=True)
def function_extended_by_view(request: Request) -> Response:
    return Response()


class VerbatimView(APIView):
    @extend_schema(operation={"operationId": "verbatim", "responses": {201: {"description": "Made."}}})
    @idempotent(required=True)
    def post(self, request: Request) -> Response:
        return Response()


def router_patterns() -> list[Any]:
    router = SimpleRouter()
    router.register("mixin", ChargeViewSet, basename="mixin")
    router.register("decorated", DecoratedViewSet, basename="decorated")
    return router.urls


PATTERNS = [
    *router_patterns(),
    path("api-view-class/", OrderView.as_view()),
    path("extended/", ExtendedView.as_view()),
    path("extended-below/", ExtendedBelowView.as_view()),
    path("extended-by-view/", ExtendedClassView.as_view()),
    path("extended-class/", ExtendedWholeView.as_view()),
    path("api-view/", function),
    path("api-view-extended-by-view/", function_extended_by_view),
    path("verbatim/", VerbatimView.as_view()),
]
GUARDED = [
    "/mixin/",
    "/mixin/refund/",
    "/mixin/capture/",
    "/decorated/",
    "/decorated/refund/",
    "/decorated/capture/",
    *(f"/{pattern.pattern}" for pattern in PATTERNS[-8:]),
]


def schema_of(*patterns: Any, version: str = "3.0.3") -> dict[str, Any]:
    """Return the specification as a client reads it."""
    with patched_settings({"OAS_VERSION": version}):
        schema = SchemaGenerator(patterns=list(patterns)).get_schema(public=True)
        assert not GENERATOR_STATS, [*GENERATOR_STATS._warn_cache, *GENERATOR_STATS._error_cache]
        validate_schema(schema)
        result: dict[str, Any] = json.loads(OpenApiJsonRenderer().render(schema))
    validate(result)
    return result


def operation_of(view: Any, method: str = "post") -> dict[str, Any]:
    """Return what is published of one view."""
    (operations,) = schema_of(path("it/", view))["paths"].values()
    operation: dict[str, Any] = operations[method]
    return operation


def key_of(operation: dict[str, Any]) -> dict[str, Any]:
    """Return the header among an operation's parameters."""
    parameter: dict[str, Any]
    (parameter,) = [each for each in operation["parameters"] if each["name"].lower() == "idempotency-key"]
    return parameter


def view_with(**arguments: Any) -> Any:
    """Return a view that is guarded by these arguments."""

    class It(APIView):
        @extend_schema(request=None, responses={201: None})
        @idempotent(**arguments)
        def post(self, request: Request) -> Response:
            return Response()

    return It.as_view()


def mixed_in(**attributes: Any) -> Any:
    """Return a view whose mixin has these attributes."""

    class Base(IdempotencyMixin, APIView):
        @extend_schema(request=None, responses={201: None})
        def post(self, request: Request) -> Response:
            return Response()

    view: Any = type("It", (Base,), attributes)
    return view.as_view()


@pytest.fixture(scope="module", params=VERSIONS)
def paths(request):
    return schema_of(*PATTERNS, version=request.param)["paths"]


class TestGuardedOperations:
    @pytest.mark.parametrize("address", GUARDED)
    def test_header_is_described(self, paths, address):
        key = key_of(paths[address]["post"])

        assert key["in"] == "header"
        assert key["name"] == "Idempotency-Key"
        assert key["required"] is True
        assert key["schema"]["maxLength"] == 255

    @pytest.mark.parametrize("address", GUARDED)
    def test_expiry_and_scope_are_told_in_words(self, paths, address):
        description = key_of(paths[address]["post"])["description"]

        assert "remembered for 1 day" in description
        assert "Each user has keys of their own" in description

    @pytest.mark.parametrize("address", GUARDED)
    def test_refusals_are_described_with_their_codes(self, paths, address):
        responses = paths[address]["post"]["responses"]

        for status, codes in CODES.items():
            assert re.findall(r"`(idempotency_\w+)`", responses[status]["description"]) == codes

    @pytest.mark.parametrize("address", GUARDED)
    def test_conflict_tells_when_to_retry(self, paths, address):
        responses = paths[address]["post"]["responses"]

        assert responses["409"]["headers"]["Retry-After"]["schema"]["type"] == "integer"
        assert "Retry-After" not in responses["400"].get("headers", {})

    @pytest.mark.parametrize("address", GUARDED)
    def test_stored_responses_may_be_replays(self, paths, address):
        responses = paths[address]["post"]["responses"]

        marked = {status for status, body in responses.items() if "Idempotent-Replayed" in body.get("headers", {})}
        assert marked == set(responses) - set(CODES)

    @pytest.mark.parametrize("address", ["/mixin/", "/api-view-class/"])
    def test_unguarded_operation_is_left_alone(self, paths, address):
        assert "dempoten" not in json.dumps(paths[address]["get"])

    def test_argument_of_action_counts(self):
        class View(IdempotencyMixin, GenericViewSet[Any]):
            serializer_class = ChargeSerializer

            @action(detail=False, methods=["post"], idempotency_required=True, idempotency_ttl=90)
            def refund(self, request: Request) -> Response:
                return Response()

        router = SimpleRouter()
        router.register("it", View, basename="it")
        key = key_of(schema_of(*router.get_urls())["paths"]["/it/refund/"]["post"])

        assert key["required"] is True
        assert "remembered for 1 minute 30 seconds" in key["description"]

    def test_decorated_handler_counts_before_mixin(self):
        class View(IdempotencyMixin, APIView):
            idempotency_required = True

            @extend_schema(request=None, responses=None)
            @idempotent
            def post(self, request: Request) -> Response:
                return Response()

        operation = operation_of(View.as_view())

        assert key_of(operation)["required"] is False
        assert "idempotency_key_missing" not in operation["responses"]["400"]["description"]

    @pytest.mark.parametrize("view", [view_with(methods=["PUT"]), mixed_in(idempotency_methods=["PUT"])])
    def test_other_methods_are_left_alone(self, view):
        assert "dempoten" not in json.dumps(operation_of(view))

    @pytest.mark.parametrize("view", [view_with(steps=True), mixed_in(idempotency_steps=True)])
    def test_operation_of_several_steps_may_be_uncertain(self, view):
        operation = operation_of(view)

        conflict = operation["responses"]["409"]
        assert re.findall(r"`(idempotency_\w+)`", conflict["description"]) == [
            *CODES["409"],
            "idempotency_outcome_uncertain",
        ]
        assert conflict["headers"]["Retry-After"]["description"].startswith(
            "With `idempotency_request_in_progress` and `idempotency_outcome_uncertain`: "
        )
        assert key_of(operation)["required"] is True
        assert "goes on after 30 seconds at most" in key_of(operation)["description"]

    def test_status_of_reused_key_is_the_projects(self, settings):
        settings.IDEMPOTENCY_REUSED_STATUS = 422

        responses = operation_of(view_with())["responses"]

        assert "idempotency_key_reused" in responses["422"]["description"]
        assert "idempotency_key_reused" not in responses["409"]["description"]
        assert "Retry-After" not in responses["422"].get("headers", {})

    def test_stored_statuses_are_the_views(self):
        responses = operation_of(view_with(stored_statuses=[204]))["responses"]

        assert "headers" not in responses["201"]

    def test_body_is_that_of_drf(self):
        schema = schema_of(path("it/", view_with()))
        content = schema["paths"]["/it/"]["post"]["responses"]["409"]["content"]["application/json"]

        assert content["schema"] == {"$ref": "#/components/schemas/IdempotencyRefusal"}
        assert schema["components"]["schemas"]["IdempotencyRefusal"]["properties"] == {"detail": {"type": "string"}}
        assert list(content["examples"]) == CODES["409"]
        assert "earlier request" in content["examples"]["idempotency_key_reused"]["value"]["detail"]

    def test_body_of_the_projects_handler_is_not_guessed(self):
        class View(APIView):
            def get_exception_handler(self) -> Any:
                return lambda exc, context: Response({"error": str(exc)})

            @extend_schema(request=None, responses=None)
            @idempotent
            def post(self, request: Request) -> Response:
                return Response()

        responses = operation_of(View.as_view())["responses"]

        assert "content" not in responses["409"]
        assert "idempotency_key_reused" in responses["409"]["description"]

    def test_authors_response_is_one_of_two(self):
        class View(APIView):
            @extend_schema(
                request=None,
                responses={409: OpenApiResponse(ConflictSerializer, description=gettext_lazy("Not now."))},
                examples=[OpenApiExample("settled", {"reason": "Settled."}, status_codes=["409"])],
            )
            @idempotent
            def post(self, request: Request) -> Response:
                return Response()

        response = operation_of(View.as_view())["responses"]["409"]

        content = response["content"]["application/json"]
        assert response["description"].startswith("Not now.\n\n- `idempotency_request_in_progress`")
        assert content["schema"]["anyOf"] == [
            {"$ref": "#/components/schemas/Conflict"},
            {"$ref": "#/components/schemas/IdempotencyRefusal"},
        ]
        assert list(content["examples"]) == ["Settled", *CODES["409"]]

    def test_authors_words_on_the_header_stay(self):
        class View(APIView):
            @extend_schema(
                request=None,
                responses=None,
                parameters=[OpenApiParameter("idempotency-key", location="header", description="Mine.")],
            )
            @idempotent
            def post(self, request: Request) -> Response:
                return Response()

        assert key_of(operation_of(View.as_view()))["description"] == "Mine."

    def test_reference_is_not_followed(self):
        references = {status: {"$ref": f"#/components/responses/{status}"} for status in ("200", "409")}

        class View(APIView):
            @extend_schema(operation={"operationId": "it", "responses": references})
            @idempotent
            def post(self, request: Request) -> Response:
                return Response()

        components = {"responses": {status: {"description": "Elsewhere."} for status in references}}
        with patched_settings({"APPEND_COMPONENTS": components}):
            responses = operation_of(View.as_view())["responses"]

        assert {status: responses[status] for status in references} == references
        assert "idempotency_key_invalid" in responses["400"]["description"]

    @pytest.mark.parametrize("status", ["2XX", "default"])
    def test_range_of_statuses_may_hold_replays(self, status):
        class View(APIView):
            @extend_schema(operation={"operationId": "it", "responses": {status: {"description": "Done."}}})
            @idempotent
            def post(self, request: Request) -> Response:
                return Response()

        assert "Idempotent-Replayed" in operation_of(View.as_view())["responses"][status]["headers"]

    @pytest.mark.parametrize(("doc", "description"), [(None, None), ("For clients.", "For clients.")])
    def test_mixins_docstring_is_not_published(self, doc, description):
        class Base(APIView):
            __doc__ = doc

            def get(self, request: Request) -> Response:
                return Response()

            @extend_schema(request=None, responses=None)
            def post(self, request: Request) -> Response:
                return Response()

        view: Any = type("It", (IdempotencyMixin, Base), {})
        extend_schema_view(get=extend_schema(responses=None))(view)
        (operations,) = schema_of(path("it/", view.as_view()))["paths"].values()

        assert operations["post"].get("description") == description
        assert operations["get"].get("description") == description

    def test_excluded_operation_stays_out(self):
        class View(APIView):
            @extend_schema(exclude=True)
            @idempotent
            def post(self, request: Request) -> Response:
                return Response()

        assert schema_of(path("it/", View.as_view()))["paths"] == {}

    def test_making_it_again_repeats_nothing(self):
        operation = {"operationId": "it", "responses": {"409": {"description": "Settled."}}}

        class Shared(AutoSchema):
            def get_operation(self, *args: Any) -> dict[str, Any]:
                return operation

        class View(IdempotencyMixin, APIView):
            schema = Shared()

            def post(self, request: Request) -> Response:
                return Response()

        assert operation_of(View.as_view()) == operation_of(View.as_view())

    def test_yaml_repeats_nothing_by_alias(self):
        text = OpenApiYamlRenderer().render(SchemaGenerator(patterns=PATTERNS).get_schema(public=True)).decode()

        assert "Idempotent-Replayed" in text
        assert "&id" not in text


class TaggedSchema(AutoSchema):
    """A schema that cannot be made without an argument."""

    def __init__(self, tag: str) -> None:
        super().__init__()
        self.tag = tag

    def get_tags(self) -> list[str]:
        return [self.tag]


class TestGuardedSchema:
    def test_views_own_schema_is_kept(self):
        class View(IdempotencyMixin, generics.GenericAPIView[Any]):
            schema = TaggedSchema("mine")
            serializer_class = ChargeSerializer

            def post(self, request: Request) -> Response:
                return Response()

        operation = operation_of(View.as_view())

        assert operation["tags"] == ["mine"]
        assert key_of(operation)

    def test_schema_of_as_view_is_kept(self):
        class View(IdempotencyMixin, generics.GenericAPIView[Any]):
            serializer_class = ChargeSerializer

            def post(self, request: Request) -> Response:
                return Response()

        operation = operation_of(View.as_view(schema=TaggedSchema("mine")))

        assert operation["tags"] == ["mine"]
        assert key_of(operation)

    def test_stands_in_for_the_schema(self):
        view = SchemaGenerator().create_view(OrderView.as_view(), "POST")

        assert isinstance(view.schema, AutoSchema)
        assert view.schema.method_mapping == AutoSchema.method_mapping
        assert isinstance(type(view).schema, AutoSchema)

    def test_view_class_without_schema_stays_out(self):
        assert schema_of(path("it/", mixed_in(schema=None)))["paths"] == {}


class TestGuardedViewExtension:
    @pytest.fixture
    def extended(self, monkeypatch):
        """Make another extension, for what stands in for a view of a third party."""
        monkeypatch.setattr(OpenApiViewExtension, "_registry", [*OpenApiViewExtension._registry])

        def extend(view: type[APIView]) -> None:
            class Extension(OpenApiViewExtension):
                target_class = view

                def view_replacement(self) -> type[APIView]:
                    class Fixed(self.target_class):  # type: ignore[name-defined, misc]
                        @extend_schema(request=None, responses={418: None})
                        def post(self, request: Request) -> Response:
                            raise NotImplementedError

                    return Fixed

        return extend

    def test_other_extension_is_asked(self, extended):
        extended(OrderView)

        operation = operation_of(OrderView.as_view())

        assert "418" in operation["responses"]
        assert key_of(operation)["required"] is True

    def test_other_extension_of_unguarded_view_is_asked(self, extended):
        class View(APIView):
            def post(self, request: Request) -> Response:
                return Response()

        extended(View)

        operation = operation_of(View.as_view())

        assert "418" in operation["responses"]
        assert "dempoten" not in json.dumps(operation)

    @pytest.mark.parametrize("bases", [(), (IdempotencyMixin,)])
    def test_names_of_operations_do_not_change(self, bases):
        class View(*bases, GenericViewSet[Any]):  # type: ignore[misc]
            serializer_class = ChargeSerializer

            def create(self, request: Request) -> Response:
                return Response()

            def destroy(self, request: Request, pk: str) -> Response:
                return Response()

        callback = View.as_view({"post": "create", "delete": "destroy"})
        (operations,) = schema_of(path("it/", callback))["paths"].values()

        assert {method: each["operationId"] for method, each in operations.items()} == {
            "post": "it_create",
            "delete": "it_destroy",
        }

    def test_view_is_itself_again_afterwards(self):
        callback = OrderView.as_view()
        schema_of(path("it/", callback))

        assert callback.cls is OrderView


class TestIdempotencyConfig:
    def test_needs_no_drf_spectacular(self, settings, monkeypatch):
        imported: list[str] = []
        monkeypatch.setattr("django_idempotency.apps.import_module", imported.append)
        config = apps.get_app_config("django_idempotency")

        config.ready()
        with modify_settings(INSTALLED_APPS={"remove": "drf_spectacular"}):
            apps.get_app_config("django_idempotency").ready()

        assert imported == ["django_idempotency.spectacular"]
