"""Operations, a codec, connections of another kind: the protocol under test, without HTTP."""

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
def missing_table() -> Iterator[None]:
    """Let the keys' table be somewhere else."""
    table = IdempotencyKey._meta.db_table
    with connections["default"].schema_editor() as editor:
        editor.alter_db_table(IdempotencyKey, table, "away")
    try:
        yield
    finally:
        with connections["default"].schema_editor() as editor:
            editor.alter_db_table(IdempotencyKey, "away", table)


@contextmanager
def connecting_with(**options: Any) -> Iterator[None]:
    """Let every connection that is made inside of the block, in any thread, have these OPTIONS, too."""
    config = connections.settings["default"]
    original = config["OPTIONS"]
    _reconnect()
    config["OPTIONS"] = {**original, **options}
    try:
        yield
    finally:
        _reconnect()
        config["OPTIONS"] = original


def _reconnect() -> None:
    connections["default"].close()
    vars(connections["default"].features).pop("uses_server_side_binding", None)  # Django reads it once.
