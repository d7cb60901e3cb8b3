"""Operations, a codec and connections of other kinds: the protocol under test, without HTTP."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

from django.db import connections
from django.utils import timezone

from django_idempotency.fingerprint import Fingerprint
from django_idempotency.models import IdempotencyKey
from django_idempotency.values import Operation, StoredResponse
from tests.app.models import Effect


def operation(
    key: str = "key",
    *,
    namespace: str = "test",
    scope: str = "anonymous",
    content: bytes = b"content",
    ttl: timedelta = timedelta(hours=1),
) -> Operation:
    """Return an operation that asks for *content*."""
    return Operation(namespace=namespace, scope=scope, key=key, fingerprint=Fingerprint.of(content), ttl=ttl)


class TextCodec:
    """Store text; nothing is stored of empty text, and not the body of text with more than 100 characters."""

    def dump(self, value: str) -> StoredResponse | None:
        if not value:
            return None
        return StoredResponse(status=200, body=value.encode() if len(value) <= 100 else None)

    def load(self, response: StoredResponse) -> str:
        assert response.body is not None
        return response.body.decode()


CODEC = TextCodec()


def labels(using: str = "default") -> list[str]:
    """Return the labels of all effects that were committed, in order."""
    return list(Effect.objects.using(using).order_by("pk").values_list("label", flat=True))


def expire_keys(using: str = "default") -> None:
    """Let all keys expire, as time would."""
    IdempotencyKey.objects.using(using).update(expires=timezone.now() - timedelta(seconds=1))


@contextmanager
def another_connection(alias: str = "another", **changes: Any) -> Iterator[str]:
    """Yield the alias of connections to the default test database that have *changes* in their settings."""
    original = connections["default"].settings_dict
    changed = {**original, **changes, "OPTIONS": {**original["OPTIONS"], **changes.get("OPTIONS", {})}}
    connections.settings[alias] = changed
    try:
        yield alias
    finally:
        if hasattr(connections._connections, alias):  # type: ignore[attr-defined]  # no public way to forget one
            connections[alias].close()
            del connections[alias]
        del connections.settings[alias]
