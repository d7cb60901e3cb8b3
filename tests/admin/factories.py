"""Rows as requests leave them: found under their digest."""

from datetime import timedelta

from factory.declarations import LazyAttribute

from django_idempotency.fingerprint import Fingerprint
from django_idempotency.values import Operation
from tests.factories import IdempotencyKeyFactory


def digest_of(row):
    """Return the digest of the operation that *row* stands for."""
    return Operation(
        namespace=row.namespace,
        scope=row.scope,
        key=row.key,
        fingerprint=Fingerprint.of(),
        ttl=timedelta(days=1),
    ).digest


class KeyFactory(IdempotencyKeyFactory):
    """A key under its digest."""

    id = LazyAttribute(digest_of)  # type: ignore[assignment]  # another declaration
