"""The threads that a request begins, and may leave behind."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Collection
from concurrent.futures import thread as pools
from typing import Final

# How long, in seconds, to wait for threads that a request has begun.
_TIMEOUT: Final = 2.0


def wait_for_threads(*, but: Collection[threading.Thread], timeout: float = _TIMEOUT) -> None:
    """Return once every other thread has ended, or is one of a pool's and idle; or after *timeout* seconds."""
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        threads = set(threading.enumerate()) - set(but) - {threading.current_thread()}
        if all(map(_is_idle, threads)):
            return
        time.sleep(0.001)


def _is_idle(thread: threading.Thread) -> bool:
    frame = sys._current_frames().get(thread.ident or 0)
    return frame is None or frame.f_code.co_filename == pools.__file__
