"""What those who watch can see: a signal for each outcome, and a line in the `django_idempotency` log.

The log holds neither keys nor bodies: it names an operation by its digest, which is the primary key of its row.
Receivers get the operation itself, with its key and scope, and no body.
"""

from __future__ import annotations

import logging
from typing import Any, Final

from django.dispatch import Signal

from django_idempotency.exceptions import IdempotencyError
from django_idempotency.values import Operation

logger: Final = logging.getLogger("django_idempotency")


class Event(Signal):
    """A signal that is logged as well. What a receiver raises is logged by Django, and breaks nothing.

    Receivers get `operation` (None where a request was refused for its key alone) and the event's own arguments.
    """

    def __init__(self, name: str, level: int) -> None:
        super().__init__()
        self.name = name
        self.level = level

    @property
    def is_watched(self) -> bool:
        """Whether anybody would notice a report."""
        return bool(self.receivers) or logger.isEnabledFor(self.level)

    def report(self, operation: Operation | None, **details: Any) -> None:
        """Send the signal, then log it, with its arguments in the record's `idempotency`."""
        self.send_robust(sender=Event, operation=operation, **details)
        if logger.isEnabledFor(self.level):
            values = {name: _spell(value) for name, value in details.items()}
            fields = {"event": self.name, **_describe(operation), **values}
            message = " ".join(f"{name}={value}" for name, value in fields.items())
            logger.log(self.level, "%s", message, extra={"idempotency": fields})


executed: Final = Event("executed", logging.INFO)
"""The handler ran, and its effects and response are committed; `seconds` is how long it took."""

replayed: Final = Event("replayed", logging.INFO)
"""A retry got the stored answer."""

refused: Final = Event("refused", logging.WARNING)
"""A request was refused, and did not run; `error` is the IdempotencyError."""

expired: Final = Event("expired", logging.INFO)
"""A key that had expired was taken by a new operation, and that is committed."""

purged: Final = Event("purged", logging.INFO)
"""Expired keys were deleted, and that is committed; `count` is how many. There is no operation."""


def _describe(operation: Operation | None) -> dict[str, str]:
    if operation is None:
        return {}
    return {
        "namespace": operation.namespace,
        "digest": str(operation.digest),
        "method": operation.method,
        "path": operation.path,
    }


def _spell(value: Any) -> Any:
    return value.code if isinstance(value, IdempotencyError) else value
