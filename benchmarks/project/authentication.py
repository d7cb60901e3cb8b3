from __future__ import annotations

from django.contrib.auth.models import User
from rest_framework.authentication import BaseAuthentication
from rest_framework.request import Request


class TokenAuthentication(BaseAuthentication):
    """Know the one customer by heart: authentication is not what is measured."""

    customer = User(pk=1, username="customer")

    def authenticate(self, request: Request) -> tuple[User, None]:  # noqa: ARG002 - DRF's signature
        return self.customer, None
