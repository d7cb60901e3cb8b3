"""Rows for tests."""

from django.contrib.auth.models import User
from factory.declarations import Sequence
from factory.django import DjangoModelFactory, Password

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
