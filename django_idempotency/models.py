"""The row behind an idempotency key, those behind an operation of several steps, and adjectives to select them with."""

from __future__ import annotations

import uuid
from datetime import datetime
from typing import TYPE_CHECKING, ClassVar

from django.db import models
from django.db.backends.base.base import BaseDatabaseWrapper
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from django_idempotency.clock import DatabaseTime
from django_idempotency.keys import KEY_MAX_LENGTH
from django_idempotency.values import (
    METHOD_MAX_LENGTH,
    NAMESPACE_MAX_LENGTH,
    PATH_MAX_LENGTH,
    SCOPE_MAX_LENGTH,
    STEP_NAME_MAX_LENGTH,
    digests_of,
)

if TYPE_CHECKING:
    _CharField = models.CharField[str, str]
else:
    _CharField = models.CharField


class UncheckedCharField(_CharField):
    """Text whose length is checked by those who write it; where a column needs no limit, the database has none.

    A first request writes six of these twice, and PostgreSQL would plan a check of its own for each.
    """

    def db_type(self, connection: BaseDatabaseWrapper) -> str | None:
        return "varchar" if connection.vendor == "postgresql" else super().db_type(connection)


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

    An operation of several steps is the exception: its row is committed first, and not completed, with an
    `IdempotentRun` beside it. Until it ends, it does not expire.
    """

    id = models.UUIDField(primary_key=True, editable=False, help_text="Digest of namespace, scope and key.")
    namespace = UncheckedCharField(max_length=NAMESPACE_MAX_LENGTH, help_text="What kind of caller the key came from.")
    scope = UncheckedCharField(max_length=SCOPE_MAX_LENGTH, help_text="Whose key it is.")
    key = UncheckedCharField(max_length=KEY_MAX_LENGTH, help_text="The idempotency key that the client made.")
    fingerprint = UncheckedCharField(max_length=64, help_text="Keyed digest of the request's parameters.")
    method = UncheckedCharField(max_length=METHOD_MAX_LENGTH, blank=True)
    path = UncheckedCharField(max_length=PATH_MAX_LENGTH, blank=True)
    status = models.SmallIntegerField(null=True, blank=True, help_text="HTTP status of the stored response.")
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
        # first request writes (benchmarks/indexes.py).
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
            ("settle_outcome", "Can settle uncertain outcomes"),
        ]

    def __str__(self) -> str:
        return self.key


class IdempotentRunQuerySet(models.QuerySet["IdempotentRun"]):
    """Operations of several steps, by what has become of them."""

    def unfinished(self) -> IdempotentRunQuerySet:
        """Select those that have not ended, whether somebody is at them or not."""
        return self.filter(ended__isnull=True)

    def abandoned(self) -> IdempotentRunQuerySet:
        """Select the unfinished ones that nobody is at: their lease was given back, or has run out."""
        return self.unfinished().filter(models.Q(lease_until__isnull=True) | models.Q(lease_until__lte=DatabaseTime()))

    def uncertain(self) -> IdempotentRunQuerySet:
        """Select the abandoned ones with a call of which nobody knows whether it happened."""
        calls = IdempotentStep.objects.filter(run=models.OuterRef("pk")).uncertain()
        return self.abandoned().filter(models.Exists(calls))


class IdempotentRun(models.Model):
    """How far an operation of several steps has come, and who may go on with it.

    `attempt` is the fencing token: each worker that takes the operation up raises it, and every write asks for its own.
    `lease_until` is told by the database's clock alone; null means that nobody is at it.
    """

    class State(models.TextChoices):
        OPEN = "open", _("Unfinished")
        UNCERTAIN = "uncertain", _("Uncertain")
        FAILED = "failed", _("Failed")
        ENDED = "ended", _("Ended")

    class Abort(models.TextChoices):
        NONE = "", ""
        STORED = "stored", _("Undone, and its answer stored")
        FORGOTTEN = "forgotten", _("Undone, and forgotten")

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    # Without a constraint: the purge deletes keys by thousands, and would look for a run behind each.
    key = models.OneToOneField(
        IdempotencyKey, on_delete=models.DO_NOTHING, db_constraint=False, related_name="run", editable=False
    )
    attempt = models.PositiveIntegerField(default=1)
    lease_until = models.DateTimeField(null=True, blank=True)
    state = models.CharField(max_length=10, choices=State.choices, default=State.OPEN)
    abort = models.CharField(max_length=10, choices=Abort.choices, default=Abort.NONE, blank=True)
    resumes = models.PositiveIntegerField(default=0, help_text="How often it was taken up by the command.")
    note = models.CharField(max_length=255, blank=True, help_text="What ended the last attempt.")
    request = models.TextField(blank=True, help_text="The request, if it is to be kept; erased at the end.")
    started = models.DateTimeField()
    ended = models.DateTimeField(null=True, blank=True)

    objects: ClassVar[models.Manager[IdempotentRun]] = IdempotentRunQuerySet.as_manager()

    class Meta:
        verbose_name = _("operation of several steps")
        verbose_name_plural = _("operations of several steps")
        default_permissions = ()
        indexes: ClassVar = [models.Index(fields=["state", "lease_until"], name="idempotency_run_state")]

    def __str__(self) -> str:
        return str(self.id)


class IdempotentStepQuerySet(models.QuerySet["IdempotentStep"]):
    """Steps by what is known of them."""

    def uncertain(self) -> IdempotentStepQuerySet:
        """Select the calls that were permitted and have no result: they happened, or did not."""
        return self.filter(state__in=(IdempotentStep.State.PERMITTED, IdempotentStep.State.UNDOING))


class IdempotentStep(models.Model):
    """One step that is committed, or one call that was permitted; in the order in which the handler asks for them."""

    class Kind(models.TextChoices):
        STEP = "step", _("Step")
        CALL = "call", _("Call")

    class State(models.TextChoices):
        PERMITTED = "permitted", _("Permitted")
        DONE = "done", _("Done")
        UNDOING = "undoing", _("Undo permitted")
        UNDONE = "undone", _("Undone")

    id = models.BigAutoField(primary_key=True)
    run = models.ForeignKey(IdempotentRun, on_delete=models.CASCADE, related_name="steps", editable=False)
    position = models.PositiveIntegerField()
    name = models.CharField(max_length=STEP_NAME_MAX_LENGTH)
    kind = models.CharField(max_length=4, choices=Kind.choices)
    state = models.CharField(max_length=10, choices=State.choices)
    result = models.TextField(blank=True, help_text="JSON; empty while the outcome is not known.")
    attempt = models.PositiveIntegerField(help_text="Which attempt has written this last.")
    started = models.DateTimeField()
    finished = models.DateTimeField(null=True, blank=True)

    objects: ClassVar[models.Manager[IdempotentStep]] = IdempotentStepQuerySet.as_manager()

    class Meta:
        verbose_name = _("step")
        verbose_name_plural = _("steps")
        default_permissions = ()
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["run", "position"], name="idempotency_step_position"),
        ]

    def __str__(self) -> str:
        return self.name
