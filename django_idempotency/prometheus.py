"""Metrics for Prometheus: how requests ended, and how long handlers took.

Importing this module makes the metrics; `connect()` begins to count. They are kept by prometheus_client's default
registry, or, where PROMETHEUS_MULTIPROC_DIR is set, in files that all processes of a server share. No label tells a
path, a key or a scope: there is one time series for each outcome, and never more.
"""

from __future__ import annotations

from typing import Any, Final

from prometheus_client import Counter, Histogram

from django_idempotency import signals
from django_idempotency.exceptions import IdempotencyError

OPERATIONS: Final = Counter(
    "idempotency_operations",
    "Operations by how they ended; those that were refused, by their error code, too.",
    ["outcome", "code"],
)
HANDLER_SECONDS: Final = Histogram(
    "idempotency_handler_seconds",
    "How long the handlers of first requests took, where their effects were committed.",
)


def connect() -> None:
    """Count from now on. Call it in each process, such as in the `ready()` of an AppConfig; again, it does nothing."""
    signals.executed.connect(_count_executed, dispatch_uid=__name__)
    signals.replayed.connect(_count_replayed, dispatch_uid=__name__)
    signals.refused.connect(_count_refused, dispatch_uid=__name__)


def _count_executed(seconds: float, **kwargs: Any) -> None:  # noqa: ARG001 - Django passes more to each receiver
    OPERATIONS.labels(outcome="executed", code="").inc()
    HANDLER_SECONDS.observe(seconds)


def _count_replayed(**kwargs: Any) -> None:  # noqa: ARG001
    OPERATIONS.labels(outcome="replayed", code="").inc()


def _count_refused(error: IdempotencyError, **kwargs: Any) -> None:  # noqa: ARG001
    OPERATIONS.labels(outcome="refused", code=error.code).inc()
