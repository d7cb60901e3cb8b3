"""Who takes part: an administrator, and customers with a token and an account each."""

import secrets
from dataclasses import dataclass
from decimal import Decimal

from django.contrib.auth import get_user_model
from rest_framework.authtoken.models import Token

from example_project.payments.models import Account

ADMIN = "admin"
CUSTOMERS = ("anna", "bert")
OPENING = Decimal(1_000_000)


@dataclass(frozen=True, slots=True, kw_only=True)
class Customer:
    """A customer as the client knows him."""

    name: str
    token: str


def make_admin() -> str:
    """Make a superuser, or give the one there is a new password; return the password."""
    password = secrets.token_urlsafe(9)
    admin, _ = get_user_model().objects.get_or_create(username=ADMIN, defaults={"is_staff": True, "is_superuser": True})
    admin.set_password(password)
    admin.save()
    return password


def make_customers() -> list[Customer]:
    """Make the customers who are not there yet."""
    found = []
    for name in CUSTOMERS:
        user, _ = get_user_model().objects.get_or_create(username=name)
        token, _ = Token.objects.get_or_create(user=user)
        found.append(Customer(name=name, token=token.key))
    return found


def open_accounts(label: str) -> list[Account]:
    """Open a fresh account for each customer."""
    users = get_user_model().objects.in_bulk(CUSTOMERS, field_name="username")
    return [
        Account.objects.create(owner=users[name], name=f"{name}, {label}", opening=OPENING, balance=OPENING)
        for name in CUSTOMERS
    ]
