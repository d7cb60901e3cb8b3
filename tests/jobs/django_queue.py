"""Django's tasks without a database of jobs: what a worker does with one, in this thread."""

from __future__ import annotations

import uuid
from typing import Any

from django.tasks import TaskContext, TaskResult, TaskResultStatus
from django.tasks.backends.base import BaseTaskBackend


class DeferringBackend(BaseTaskBackend):
    """A backend of django.tasks that keeps what was enqueued, and when it is to run."""

    supports_defer = True
    supports_async_task = True
    supports_priority = True

    def enqueue(self, task: Any, args: Any, kwargs: Any) -> TaskResult[Any, Any]:
        self.validate_task(task)
        result: TaskResult[Any, Any] = TaskResult(
            task=task,
            id=uuid.uuid4().hex,
            status=TaskResultStatus.READY,
            enqueued_at=None,
            started_at=None,
            last_attempted_at=None,
            finished_at=None,
            args=args,
            kwargs=kwargs,
            backend=self.alias,
            errors=[],
            worker_ids=[],
        )
        enqueued.append(result)
        return result


enqueued: list[TaskResult[Any, Any]] = []


def perform(result: TaskResult[Any, Any]) -> Any:
    """Run what was enqueued as a worker of django.tasks does; return what it returns, or raise."""
    if result.task.takes_context:
        return result.task.call(TaskContext(task_result=result), *result.args, **result.kwargs)
    return result.task.call(*result.args, **result.kwargs)
