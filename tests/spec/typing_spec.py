"""What a type checker makes of the marks on views and rules; nothing here is run."""

from typing import Any, assert_type

from django.http import HttpRequest, HttpResponse
from django.views import View

from django_idempotency import opentelemetry, prometheus
from django_idempotency.decorators import idempotency_exempt, published_as
from django_idempotency.endpoints import Endpoint, endpoints


@idempotency_exempt
def search(request: HttpRequest, page: int = 1) -> HttpResponse:
    return HttpResponse()


@idempotency_exempt
class SearchView(View):
    limit = 10


@published_as("Each tenant has keys of its own.")
def tenant(request: Any) -> str:
    return "tenant"


def marks(request: HttpRequest) -> None:
    assert_type(search(request, page=2), HttpResponse)
    assert_type(SearchView.limit, int)
    assert_type(tenant(request), str)
    search(request, page="2")  # type: ignore[arg-type]  # the signature is kept
    published_as(tenant)  # type: ignore[arg-type]  # the words come first


def lists() -> None:
    assert_type(endpoints(exempt=["admin"]), list[Endpoint])
    assert_type(endpoints()[0].lacks_keys, bool)


def connections() -> None:
    prometheus.connect()
    opentelemetry.connect()
