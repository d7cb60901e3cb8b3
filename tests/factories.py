"""Rows for tests."""

import uuid
from datetime import timedelta

from django.contrib.auth.models import User
from django.utils import timezone
from factory.declarations import LazyFunction, Sequence
from factory.django import DjangoModelFactory, Password

from django_idempotency.models import IdempotencyKey
from tests.app.models import Account

PASSWORD = "password"


class UserFactory(DjangoModelFactory[User]):
    """A user whose password is "password"."""

    class Meta:
        model = User
        skip_postgeneration_save = True

    username = Sequence("user{}".format)
    password = Password(PASSWORD)


class AccountFactory(DjangoModelFactory[Account]):
    """An account with 1000 in it."""

    class Meta:
        model = Account

    balance = 1000


class IdempotencyKeyFactory(DjangoModelFactory[IdempotencyKey]):
    """A key that was answered with 201 just now, and expires in an hour."""

    class Meta:
        model = IdempotencyKey

    id = LazyFunction(uuid.uuid4)
    namespace = "http"
    scope = "anonymous"
    key = Sequence("key{}".format)
    fingerprint = "0" * 64
    method = "POST"
    path = "/charges/"
    status = 201
    body = b"{}"
    created = LazyFunction(timezone.now)
    completed = LazyFunction(timezone.now)
    expires = LazyFunction(lambda: timezone.now() + timedelta(hours=1))
