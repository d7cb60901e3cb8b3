"""Where `@idempotent` cannot keep its promise, it refuses."""

import pytest
from django.test import RequestFactory
from django.utils.decorators import method_decorator
from rest_framework.exceptions import NotFound
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from django_idempotency.decorators import idempotent
from django_idempotency.exceptions import UsageError
from tests.app.models import Effect
from tests.app.views import effect


class View(APIView):
    def post(self, request: Request) -> Response:
        effect("a")
        raise NotFound


@method_decorator(idempotent, name="dispatch")
class DecoratedFromOutside(View):
    pass


class DecoratedItself(View):
    @idempotent
    def dispatch(self, request, *args, **kwargs):
        return super().dispatch(request, *args, **kwargs)


@method_decorator(idempotent, name="post")
class DecoratedHandler(View):
    pass


@pytest.mark.django_db
class TestIdempotent:
    @pytest.mark.parametrize("view", [DecoratedFromOutside, DecoratedItself])
    def test_refuses_dispatch_of_drf(self, view):
        """It makes a response of the exception, which would keep what was written before."""
        request = RequestFactory().post("/", headers={"Idempotency-Key": "a"})

        with pytest.raises(UsageError, match="decorate the method, or use IdempotencyMixin"):
            view.as_view()(request)

        assert not Effect.objects.exists()

    def test_takes_method_of_drf(self):
        request = RequestFactory().post("/", headers={"Idempotency-Key": "a"})

        response = DecoratedHandler.as_view()(request)

        assert response.status_code == 404
        assert not Effect.objects.exists()
