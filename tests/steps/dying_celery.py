"""The job of Celery's at which workers die."""

from typing import Any

from django_idempotency.tasks import idempotent_task
from tests.jobs.celery_queue import app, deliver
from tests.steps import dying

__all__ = ["deliver", "job"]


@app.task(lazy=False, acks_late=True)
@idempotent_task(steps=True, lease=600, keep_arguments=True)
def job(number: str, *, operation: Any) -> str:
    """Be known by the task's id."""
    return dying.work(operation, number)
