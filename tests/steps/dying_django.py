"""The job of Django's (6.0 and newer) at which workers die."""

from typing import Any

from django.tasks import task

from django_idempotency.tasks import idempotent_task
from tests.jobs.django_queue import perform
from tests.steps import dying

__all__ = ["job", "perform"]


@task
@idempotent_task(key="{number}", steps=True, lease=600, keep_arguments=True)
def job(number: str, *, operation: Any) -> str:
    """Be known by the number."""
    return dying.work(operation, number)
