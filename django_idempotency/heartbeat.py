"""A thread that keeps a lease from running out while its owner is at work."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event, Thread
from typing import Final

from django.db import Error

from django_idempotency import leases

logger: Final = logging.getLogger("django_idempotency")

# How many beats fit in one lease: two may be lost.
_BEATS: Final = 3


@contextmanager
def beating(lease: leases.Lease) -> Iterator[None]:
    """Extend *lease* again and again during the block, on a connection of the thread's own.

    It only ever extends. Whether the lease is still the last one, the next write of the operation finds out.
    """
    stopped = Event()
    thread = Thread(target=_beat, args=(lease, stopped), name="idempotency-heartbeat", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stopped.set()
        thread.join()


def _beat(lease: leases.Lease, stopped: Event) -> None:
    while not stopped.wait(lease.duration.total_seconds() / _BEATS):
        try:
            leases.extend(lease)
        except Error as error:
            # The next beat may succeed; if none does, the lease runs out, as it should.
            logger.warning("event=heartbeat_failed digest=%s error=%s", lease.operation.digest, type(error).__name__)
