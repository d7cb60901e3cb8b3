"""`manage.py idempotency_endpoints`: what is guarded, and what should be."""

import io
import json
import re
import subprocess
import sys
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest
from django.contrib import admin
from django.core.management import CommandError, call_command
from django.http import HttpRequest, HttpResponse
from django.urls import include, path, re_path
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST, require_safe
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.routers import DefaultRouter
from rest_framework.viewsets import ViewSet

from django_idempotency.decorators import idempotency_exempt, idempotent
from django_idempotency.drf import IdempotencyMixin
from django_idempotency.endpoints import endpoints
from tests.server import ROOT


def tenant(request: Any) -> str:
    return "tenant"


@require_POST
def unguarded(request: HttpRequest) -> HttpResponse:
    return HttpResponse()


def anything(request: HttpRequest) -> HttpResponse:
    return HttpResponse()


@require_safe
def page(request: HttpRequest) -> HttpResponse:
    return HttpResponse()


@csrf_exempt
@require_POST
@idempotent(required=True, ttl=timedelta(hours=36), wait=5.0, scope=tenant)
def transfers(request: HttpRequest) -> HttpResponse:
    return HttpResponse()


@idempotent
async def donations(request: HttpRequest) -> HttpResponse:
    return HttpResponse()


@idempotency_exempt
def search(request: HttpRequest) -> HttpResponse:
    return HttpResponse()


class ChargeViewSet(IdempotencyMixin, ViewSet):
    def create(self, request: Request) -> Response:
        return Response()

    def partial_update(self, request: Request, pk: str) -> Response:
        return Response()

    def get_idempotency_scope(self, request: Request) -> str:
        return "it"

    def get_idempotency_ttl(self, request: Request) -> float:
        return 60.0

    def get_idempotency_wait(self, request: Request) -> float:
        return 0.0

    def is_idempotency_required(self, request: Request) -> bool:
        return True


router = DefaultRouter()
router.register("charges", ChargeViewSet, basename="charge")

GUARDED = (path("transfers/", transfers), path("donations/", donations), path("", include(router.urls)))


def run(settings: Any, patterns: Sequence[Any], *arguments: str) -> str:
    """Return what the command prints for a project with these addresses."""
    settings.ROOT_URLCONF = tuple(patterns)
    out = io.StringIO()
    call_command("idempotency_endpoints", *arguments, stdout=out)
    return out.getvalue()


class TestIdempotencyEndpoints:
    def test_table(self, settings):
        rows = [re.split("  +", line) for line in run(settings, GUARDED).splitlines()]

        scope = "tests.spec.test_endpoints.ChargeViewSet.get_idempotency_scope"
        assert rows == [
            ["METHOD", "PATH", "REQUIRED", "TTL", "SCOPE", "WAIT"],
            ["POST", "/transfers/", "yes", "1 day 12 hours", "tests.spec.test_endpoints.tenant", "5 seconds"],
            ["POST", "/donations/", "no", "1 day", "user", "no"],
            ["PATCH", "/donations/", "no", "1 day", "user", "no"],
            ["POST", "/charges/", "varies", "varies", scope, "varies"],
            ["PATCH", "/charges/<pk>/", "varies", "varies", scope, "varies"],
        ]

    def test_columns_are_straight(self, settings):
        lines = run(settings, GUARDED).splitlines()

        starts = [re.search(r" (yes|no|varies|REQUIRED) ", line) for line in lines]
        assert len({start and start.start() for start in starts}) == 1

    def test_markdown(self, settings):
        patterns = [re_path(r"^(?P<kind>a|b)\.d/x|y$", donations), path("<int:pk>/", transfers)]

        assert run(settings, patterns, "--format", "markdown").splitlines() == [
            "| method | path | required | ttl | scope | wait |",
            "| --- | --- | --- | --- | --- | --- |",
            r"| POST | /\<kind>.d/x\|y | no | 1 day | user | no |",
            r"| PATCH | /\<kind>.d/x\|y | no | 1 day | user | no |",
            r"| POST | /\<int:pk>/ | yes | 1 day 12 hours | tests.spec.test_endpoints.tenant | 5 seconds |",
        ]

    def test_json(self, settings):
        listed = json.loads(run(settings, GUARDED, "--format", "json"))

        assert listed[0] == {
            "method": "POST",
            "path": "/transfers/",
            "required": True,
            "ttl": 129600.0,
            "scope": "tests.spec.test_endpoints.tenant",
            "wait": 5.0,
            "view": "tests.spec.test_endpoints.transfers",
        }
        assert listed[-1] == {
            "method": "PATCH",
            "path": "/charges/<pk>/",
            "required": None,
            "ttl": None,
            "scope": "tests.spec.test_endpoints.ChargeViewSet.get_idempotency_scope",
            "wait": None,
            "view": "tests.spec.test_endpoints.ChargeViewSet",
        }

    def test_nothing_is_guarded(self, settings):
        assert run(settings, [path("page/", page)], "--format", "json") == "[]\n"
        assert run(settings, [path("page/", page)]) == "METHOD  PATH  REQUIRED  TTL  SCOPE  WAIT\n"

    def test_check_passes_where_nothing_lacks_keys(self, settings):
        assert "/transfers/" in run(settings, [*GUARDED, path("page/", page), path("search/", search)], "--check")

    def test_check_names_what_lacks_keys(self, settings):
        with pytest.raises(CommandError) as raised:
            run(
                settings,
                [path("it/", unguarded), path("any/", anything), path("page/", page), *GUARDED],
                "--check",
            )

        _, *lines, _ = str(raised.value).splitlines()
        assert lines == [
            "  POST        /it/  tests.spec.test_endpoints.unguarded",
            "  POST PATCH  /any/  tests.spec.test_endpoints.anything",
        ]
        assert raised.value.returncode == 1

    def test_check_names_methods_that_a_guard_lets_pass(self, settings):
        view = idempotent(methods=["POST"])(anything)

        with pytest.raises(CommandError, match=r"  PATCH       /it/  tests\.spec\.test_endpoints\.anything\n"):
            run(settings, [path("it/", view)], "--check")

    @pytest.mark.parametrize("place", ["shop", "shop:nested", "/shop/", "/shop/nested/it"])
    def test_place_may_be_exempt(self, settings, place):
        nested = include(([path("it/", unguarded)], "nested"))
        shop = include(([path("nested/", nested)], "shop"))

        assert run(settings, [path("shop/", shop)], "--check", "--exempt", place)

    @pytest.mark.parametrize("place", ["nested", "sho", "it", "/nested/"])
    def test_other_place_is_not_exempt(self, settings, place):
        nested = include(([path("it/", unguarded)], "nested"))
        shop = include(([path("nested/", nested)], "shop"))

        with pytest.raises(CommandError):
            run(settings, [path("shop/", shop)], "--check", "--exempt", place)

    def test_admin_may_be_exempt(self, settings):
        patterns = [path("admin/", admin.site.urls)]

        assert run(settings, patterns, "--check", "--exempt", "admin")
        with pytest.raises(CommandError, match="/admin/login/"):
            run(settings, patterns, "--check", "--exempt", "/static/")

    @pytest.mark.parametrize(("exempt", "status"), [((), 1), (("--exempt", "admin", "--exempt", "/"), 0)])
    def test_status_is_that_of_the_process(self, exempt, status):
        command = [sys.executable, "-m", "django", "idempotency_endpoints", "--check", *exempt]

        process = subprocess.run(
            [*command, "--settings", "tests.settings"], cwd=ROOT, capture_output=True, text=True, check=False
        )

        assert process.returncode == status
        assert ("/admin/login/" in process.stderr) == bool(status)


class TestEndpoints:
    def test_addresses_for_other_formats_are_left_out(self, settings):
        settings.ROOT_URLCONF = GUARDED

        assert [
            f"{endpoint.method} {endpoint.path}" for endpoint in endpoints() if endpoint.view.startswith("rest")
        ] == ["GET /"]
        assert {endpoint.path for endpoint in endpoints() if endpoint.view.startswith("tests")} == {
            "/transfers/",
            "/donations/",
            "/charges/",
            "/charges/<pk>/",
        }

    def test_address_that_ends_in_a_format_of_its_own_is_kept(self, settings):
        settings.ROOT_URLCONF = (path("report.<format>", unguarded),)

        assert [endpoint.path for endpoint in endpoints()] == ["/report.<format>"]
