"""A view behind every door, which asks for a key and keeps small answers; each does what the script says."""

from asgiref.sync import sync_to_async
from django.http import HttpRequest, HttpResponseBase
from rest_framework.request import Request
from rest_framework.views import APIView

from django_idempotency.decorators import idempotent
from django_idempotency.drf import IdempotencyMixin
from tests.app.views import perform, script_of

MAX_BYTES = 100


@idempotent(required=True, max_response_bytes=MAX_BYTES)
def plain(request: HttpRequest) -> HttpResponseBase:
    return perform(script_of(request))


@idempotent(required=True, max_response_bytes=MAX_BYTES)
async def coroutine(request: HttpRequest) -> HttpResponseBase:
    return await sync_to_async(perform)(script_of(request))


class DecoratedView(APIView):
    @idempotent(required=True, max_response_bytes=MAX_BYTES)
    def post(self, request: Request) -> HttpResponseBase:
        return perform(script_of(request))


class MixinView(IdempotencyMixin, APIView):
    idempotency_required = True
    idempotency_max_response_bytes = MAX_BYTES

    def post(self, request: Request) -> HttpResponseBase:
        return perform(script_of(request))
