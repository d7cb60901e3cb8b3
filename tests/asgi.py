"""The same application for asynchronous servers; see tests.wsgi for the lock."""

import asyncio
import fcntl
import os
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

from django.core.asgi import get_asgi_application
from django.db import connections

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")

django = get_asgi_application()

# Each request has a thread of its own, which ends with it: nobody would use a persistent connection again.
for config in connections.settings.values():
    config["CONN_MAX_AGE"] = 0


async def application(
    scope: dict[str, Any],
    receive: Callable[[], Awaitable[Mapping[str, Any]]],
    send: Callable[[Mapping[str, Any]], Awaitable[None]],
) -> None:
    """Answer like Django, while holding the lock."""
    with await asyncio.to_thread(Path(os.environ["REQUESTS_LOCK"]).open, "rb") as lock:
        fcntl.flock(lock, fcntl.LOCK_SH)
        await django(scope, receive, send)
