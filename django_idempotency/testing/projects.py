"""This project as the target of a conformance check: by way of all its middleware, in this process."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, cast

from django.db import connections
from django.test import Client, override_settings
from django.urls import re_path

from django_idempotency import changes
from django_idempotency.exceptions import UsageError
from django_idempotency.models import IdempotencyKey
from django_idempotency.testing.answers import Answer
from django_idempotency.testing.sessions import require_commits, require_threads
from django_idempotency.testing.targets import Sample


class Project:
    """A path of this project, or one of its views."""

    def __init__(self, target: str | Callable[..., Any]) -> None:
        self._path = target if isinstance(target, str) else "/"
        self._view = None if isinstance(target, str) else target

    def ready(self) -> AbstractContextManager[None]:
        """Route every path to the view, if it is one, while the block runs."""
        if self._view is None:
            return nullcontext()
        return cast("AbstractContextManager[None]", override_settings(ROOT_URLCONF=(re_path("", self._view),)))

    @contextmanager
    def in_thread(self) -> Iterator[None]:
        try:
            yield
        finally:
            connections.close_all()

    def require_threads(self) -> None:
        require_commits()
        require_threads()

    def expire(self, key: str) -> None:
        """Let the key expire, as time would."""
        ids = list(IdempotencyKey.objects.with_key(key).values_list("pk", flat=True))
        if not ids:
            raise UsageError(
                "The endpoint's keys are not this package's. Pass expire=, a callable that lets one expire."
            )
        with changes.forgotten(ids):
            """Nothing else is to be changed with it."""

    def send(self, sample: Sample, keys: Sequence[bytes]) -> Answer:
        client = Client(raise_request_exception=False)
        if sample.user is not None:
            client.force_login(sample.user())
        headers = dict(sample.headers)
        if keys:  # Servers join repeated lines so, and decode them so.
            headers["Idempotency-Key"] = b",".join(keys).decode("latin-1")
        response = client.generic(
            sample.method, self._path, sample.body, content_type=sample.content_type, headers=headers
        )
        return Answer.of(response)
