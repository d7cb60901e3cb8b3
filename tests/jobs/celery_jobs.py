"""The jobs that real workers of Celery's run."""

from __future__ import annotations

import os
import signal
from typing import Any

from celery import shared_task

from django_idempotency.steps import SteppedOperation
from django_idempotency.tasks import idempotent_task
from tests.app.models import Effect
from tests.gate import pass_gate


def work(inside: str | None) -> int:
    """Leave an effect, and stop at the gate *inside*, if there is one; return the effect's number."""
    effect = Effect.objects.create(label="charged")
    if inside:
        pass_gate(inside)
    return effect.pk


@shared_task(name="charge", acks_late=True, reject_on_worker_lost=True)
@idempotent_task(retry_delay=0.2)
def charge(inside: str | None = None, after: str | None = None) -> int:
    """Be known by the task's id. *after* is a gate between the commit and the acknowledgement."""
    return work(inside)


@shared_task(name="charge_order", acks_late=True, reject_on_worker_lost=True, max_retries=1)
@idempotent_task(key="order-{order}", retry_delay=0.2)
def charge_order(order: int, inside: str | None = None) -> int:
    """Be known by the order."""
    return work(inside)


@shared_task(name="charge_order_async", bind=True, acks_late=True)
@idempotent_task(key="order-{order}", retry_delay=0.2)
async def charge_order_async(self: Any, order: int) -> int:
    """Be a coroutine, and fail at the first attempt."""
    effect = await Effect.objects.acreate(label="charged")
    if self.request.retries == 0:
        raise self.retry(countdown=0.1)
    return effect.pk


@shared_task(name="charge_in_steps", acks_late=True, reject_on_worker_lost=True)
@idempotent_task(retry_delay=0.2, steps=True, lease=1)
def charge_in_steps(dies: str, *, operation: SteppedOperation) -> str:
    """Order, charge elsewhere and confirm; the first attempt kills its process where *dies* says."""

    def pass_point(name: str) -> None:
        if operation.attempt == 1 and dies == name:
            os.kill(os.getpid(), signal.SIGKILL)

    def leave(name: str, more: str = "") -> None:
        Effect.objects.create(label=f"{dies}: {name}{more}")
        pass_point(f"in {name}")

    operation.step("order", lambda: leave("order"))
    pass_point("after order")
    operation.call("charge", lambda key: leave("charge", f" {key}"))
    pass_point("after charge")
    operation.step("confirm", lambda: leave("confirm"))
    pass_point("after confirm")
    return dies
