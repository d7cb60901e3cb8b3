"""Operations of several steps, on the protocol alone; and what a test does to them."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

from django.utils import timezone

from django_idempotency.leases import Lease, take
from django_idempotency.models import IdempotencyKey, IdempotentRun, IdempotentStep
from django_idempotency.stepwise import execute_in_steps
from tests.app.views import effect
from tests.operations import CODEC, operation

LEASE = timedelta(seconds=60)


def run(handler: Any, *, lease: timedelta = LEASE, wait: float = 0.0, reruns: int = 0, **options: Any) -> Any:
    """Run *handler* as an operation of several steps."""
    return execute_in_steps(operation(**options), handler, codec=CODEC, lease=lease, wait=wait, reruns=reruns)


def taken(key: str = "key") -> Lease:
    """Take the operation, and do nothing with it, as a worker that dies at once."""
    lease = take(operation(key), duration=LEASE)
    assert isinstance(lease, Lease)
    return lease


def leave(label: str, result: Any = None) -> Callable[..., Any]:
    """Return what leaves an effect, and has a result."""

    def do(*args: Any) -> Any:
        effect(label)
        return result

    return do


def note(notes: list[Any], result: Any = None) -> Callable[..., Any]:
    """Return what notes what it is called with, and has a result."""

    def do(argument: Any) -> Any:
        notes.append(argument)
        return result

    return do


def run_out_leases() -> None:
    """Let all leases run out, as time would."""
    IdempotentRun.objects.unfinished().update(lease_until=timezone.now() - timedelta(days=1))


def run_of(key: str = "key") -> IdempotentRun:
    """Return how far the operation with this *key* has come."""
    return IdempotentRun.objects.get(key_id=operation(key).digest)


def key_of(key: str = "key") -> IdempotencyKey:
    """Return the row of this *key*."""
    return IdempotencyKey.objects.get(pk=operation(key).digest)


def steps_of(key: str = "key") -> list[tuple[str, str]]:
    """Return the names and the states of the operation's steps, in order."""
    steps = IdempotentStep.objects.filter(run__key_id=operation(key).digest).order_by("position")
    return list(steps.values_list("name", "state"))
