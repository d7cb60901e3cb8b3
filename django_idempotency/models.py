"""The row behind an idempotency key, and adjectives to select rows with."""

from __future__ import annotations

from datetime import datetime
from typing import ClassVar

from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from django_idempotency.keys import KEY_MAX_LENGTH
from django_idempotency.values import (
    METHOD_MAX_LENGTH,
    NAMESPACE_MAX_LENGTH,
    PATH_MAX_LENGTH,
    SCOPE_MAX_LENGTH,
    digests_of,
)


class IdempotencyKeyQuerySet(models.QuerySet["IdempotencyKey"]):
    """Keys by what they are at a moment; *now* defaults to the current time."""

    def expired(self, now: datetime | None = None) -> IdempotencyKeyQuerySet:
        """Select the keys that answer no retries any more: their requests may run again, once past any tombstone."""
        return self.filter(expires__lte=now or timezone.now())

    def unexpired(self, now: datetime | None = None) -> IdempotencyKeyQuerySet:
        """Select the keys that still answer retries."""
        return self.filter(expires__gt=now or timezone.now())

    def completed(self) -> IdempotencyKeyQuerySet:
        """Select the keys whose effects are committed."""
        return self.filter(completed__isnull=False)

    def with_key(self, key: str) -> IdempotencyKeyQuerySet:
        """Select the keys that are spelled *key*, in whatever scope: a range of the primary key, not a scan."""
        return self.filter(pk__range=digests_of(key), key=key)

    def replayable(self, now: datetime | None = None) -> IdempotencyKeyQuerySet:
        """Select the keys whose stored response can be sent again."""
        return self.unexpired(now).completed().filter(body__isnull=False)


class IdempotencyKey(models.Model):
    """One remembered operation: it exists if and only if the operation's effects are committed.

    Rows are written by the store alone. A row is claimed and completed in one transaction with the effects, so that
    nobody else ever sees the state in between. Until it expires, nothing changes it but a person, in the admin.
    """

    id = models.UUIDField(primary_key=True, editable=False, help_text="Digest of namespace, scope and key.")
    namespace = models.CharField(max_length=NAMESPACE_MAX_LENGTH, help_text="What kind of caller the key came from.")
    scope = models.CharField(max_length=SCOPE_MAX_LENGTH, help_text="Whose key it is.")
    key = models.CharField(max_length=KEY_MAX_LENGTH, help_text="The idempotency key that the client made.")
    fingerprint = models.CharField(max_length=64, help_text="Keyed digest of the request's parameters.")
    method = models.CharField(max_length=METHOD_MAX_LENGTH, blank=True)
    path = models.CharField(max_length=PATH_MAX_LENGTH, blank=True)
    status = models.PositiveSmallIntegerField(null=True, blank=True, help_text="HTTP status of the stored response.")
    headers = models.JSONField(default=list, blank=True, help_text="Stored response headers, as pairs.")
    body = models.BinaryField(null=True, blank=True, help_text="Stored response body; null if it was not kept.")
    created = models.DateTimeField()
    completed = models.DateTimeField(null=True, blank=True)
    expires = models.DateTimeField()

    objects: ClassVar[models.Manager[IdempotencyKey]] = IdempotencyKeyQuerySet.as_manager()

    class Meta:
        verbose_name = _("idempotency key")
        verbose_name_plural = _("idempotency keys")
        # The scope's index is small, since it repeats itself; one on the key or on both scope and expiry doubles what a
        # first request writes (benchmarks/admin.py).
        indexes: ClassVar = [
            models.Index(fields=["expires"], name="idempotency_expires"),
            models.Index(fields=["scope"], name="idempotency_scope"),
        ]
        # Nobody adds, changes or deletes keys by hand: what people may do to one has its own name.
        default_permissions = ("view",)
        permissions: ClassVar = [
            ("view_response", "Can view stored responses"),
            ("expire_idempotencykey", "Can expire idempotency keys"),
            ("erase_response", "Can erase stored responses"),
        ]

    def __str__(self) -> str:
        return self.key
