"""OpenTelemetry: a counter of how requests ended, and attributes of the span in which one did.

It uses the API alone: without an SDK, nothing is recorded.
"""

from __future__ import annotations

from typing import Any, Final

from opentelemetry import metrics, trace

from django_idempotency import signals
from django_idempotency.exceptions import IdempotencyError
from django_idempotency.values import Operation

OPERATIONS: Final = metrics.get_meter("django_idempotency").create_counter(
    "idempotency.operations",
    unit="{operation}",
    description="Operations by how they ended.",
)


def connect() -> None:
    """Record from now on. Call it in each process, such as in the `ready()` of an AppConfig; again, it does nothing."""
    signals.executed.connect(_record_executed, dispatch_uid=__name__)
    signals.replayed.connect(_record_replayed, dispatch_uid=__name__)
    signals.refused.connect(_record_refused, dispatch_uid=__name__)


def _record_executed(operation: Operation, **kwargs: Any) -> None:  # noqa: ARG001 - Django passes more to each receiver
    _record(operation, {"idempotency.outcome": "executed"})


def _record_replayed(operation: Operation, **kwargs: Any) -> None:  # noqa: ARG001
    _record(operation, {"idempotency.outcome": "replayed"})


def _record_refused(operation: Operation | None, error: IdempotencyError, **kwargs: Any) -> None:  # noqa: ARG001
    _record(operation, {"idempotency.outcome": "refused", "idempotency.code": error.code})


def _record(operation: Operation | None, attributes: dict[str, str]) -> None:
    OPERATIONS.add(1, attributes)
    span = trace.get_current_span()
    span.set_attributes(attributes)
    if operation is not None:
        # One for each key, which a span may have, and a metric may not.
        span.set_attribute("idempotency.digest", str(operation.digest))
