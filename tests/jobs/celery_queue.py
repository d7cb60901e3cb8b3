"""Celery without a broker: what a worker does with a job, in this thread."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import Any

from celery import Celery, Task
from celery.app.trace import trace_task

app = Celery("tests.jobs", broker="memory://", set_as_current=False, fixups=[])


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivered:
    """What came of one delivery: Celery's state, and the result, or the exception."""

    state: str
    value: Any


def deliver(job: Task[..., Any], *args: Any, task_id: str | None = None, retries: int = 0, **kwargs: Any) -> Delivered:
    """Let Celery run *job* as its worker does."""
    task_id = task_id or str(uuid.uuid4())
    request = {"id": task_id, "retries": retries, "delivery_info": {"exchange": "", "routing_key": "celery"}}
    traced = trace_task(job, task_id, args, kwargs, request, app=app)
    if traced.info is None:
        return Delivered(state="SUCCESS", value=traced.retval)
    return Delivered(state=traced.info.state, value=traced.info.retval)


def sent_again() -> list[dict[str, Any]]:
    """Return, and take away, the headers of all messages that Celery sent."""
    with app.connection_for_read() as connection:
        queue = connection.SimpleQueue("celery")
        messages = [queue.get_nowait() for _ in range(queue.qsize())]
        for message in messages:
            message.ack()
        queue.close()
    return [message.headers for message in messages]
