"""What the views under test write, so that a test can count effects."""

from django.db import models


class Account(models.Model):
    """Money that must add up."""

    balance = models.IntegerField(default=0)

    def __str__(self) -> str:
        return f"account {self.pk}: {self.balance}"


class Effect(models.Model):
    """One row for each time that something happened."""

    label = models.CharField(max_length=255, db_index=True)
    created = models.DateTimeField(auto_now_add=True)

    def __str__(self) -> str:
        return self.label


class Deferred(models.Model):
    """A row whose foreign key is checked by COMMIT only, on SQLite and PostgreSQL.

    Django declares every foreign key DEFERRABLE INITIALLY DEFERRED there. InnoDB has no deferred
    constraints at all: it refuses the statement itself.
    """

    account = models.ForeignKey(Account, on_delete=models.DO_NOTHING, related_name="+")

    def __str__(self) -> str:
        return f"deferred to {self.account_id}"
