"""What is compared: one view, bare and behind each package."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from importlib.util import find_spec
from typing import Final


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """One way to answer the same request.

    - *label*: what the tables call it, if not by its name.
    - *view*: its class, in the module that may import it.
    - *app*: what the project installs for it.
    - *middleware*: what each of its requests passes, and those of no other side.
    - *replays*: it knows idempotency keys.
    - *prepares*: PostgreSQL may prepare its statements; if not, `prepare_threshold` forbids it, as a pooler would.
    """

    name: str
    label: str = ""
    view: str
    app: str = ""
    middleware: tuple[str, ...] = ()
    replays: bool = False
    prepares: bool = True

    @property
    def path(self) -> str:
        return f"/{self.name}/"


BARE: Final = Side(name="bare", view="benchmarks.project.views.BareView")
ATOMIC: Final = Side(name="atomic", label="bare in atomic()", view="benchmarks.project.views.AtomicView")
OURS: Final = Side(
    name="django-idempotency", view="benchmarks.project.views.OurView", app="django_idempotency", replays=True
)
OURS_UNPREPARED: Final = replace(
    OURS, name="django-idempotency-unprepared", label="django-idempotency, unprepared", prepares=False
)
PEERS: Final = (
    Side(
        name="djangorestframework-idempotency-key",
        view="benchmarks.project.peers.RestFrameworkIdempotencyKeyView",
        app="rest_framework_idempotency_key",
        middleware=("rest_framework_idempotency_key.middleware.IdempotencyKeyMiddleware",),
        replays=True,
    ),
    Side(
        name="drf-idempotency",
        view="benchmarks.project.views.BareView",
        app="drf_idempotency",
        middleware=("drf_idempotency.middleware.IdempotencyMiddleware",),
        replays=True,
    ),
    Side(
        name="drf-idempotencykey",
        view="benchmarks.project.peers.DrfIdempotencyKeyView",
        app="drf_idempotencykey",
        replays=True,
    ),
)


def sides() -> list[Side]:
    """Return what is installed, and the engine knows."""
    is_postgresql = os.environ.get("BENCHMARK_URL", "").startswith("postgres")
    return [
        side
        for side in (BARE, ATOMIC, OURS, OURS_UNPREPARED, *PEERS)
        if (not side.app or find_spec(side.app)) and (is_postgresql or side.prepares)
    ]
