"""The job that a real worker of django.tasks runs."""

from __future__ import annotations

from typing import Any

from django.tasks import task

from django_idempotency.tasks import idempotent_task
from tests.app.models import Effect
from tests.gate import pass_gate


@task(takes_context=True)
@idempotent_task(key="order-{order}", retry_delay=0.5)
def charge_order(context: Any, order: int, gate: str) -> int:
    """Leave an effect, and stop at the gate."""
    effect = Effect.objects.create(label="charged")
    pass_gate(gate)
    return effect.pk
