"""Kill a server process for certain inside of a charge, not by luck.

The demo marks a charge by an empty file with the charge's description as its name. The server
process that has just written that charge, in a transaction still open, renames the file to its own
process id, and waits there for its end. A rename succeeds once, so the retry finds no mark and runs
through.
"""

import os
import signal
import time
from pathlib import Path
from typing import Any

from django.conf import settings

from example_project.payments.models import Charge

PATIENCE = 120  # seconds: the machine may have more to do


def stop_if_marked(instance: Charge, **_kwargs: Any) -> None:
    """Tell which process this is, and wait to be killed. Receives post_save in the server."""
    mark = Path(settings.DEMO_CRASH_DIRECTORY) / instance.description
    try:
        mark.rename(mark.with_suffix(f".{os.getpid()}"))
    except FileNotFoundError:
        return
    time.sleep(PATIENCE)


class Killer:
    """Marks one charge, and kills the process that makes it."""

    def __init__(self, directory: Path, description: str) -> None:
        self.mark = directory / description
        self.mark.touch()

    def strike(self) -> int | None:
        """Kill the process that has announced itself; return its id, or None if none has."""
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            for found in self.mark.parent.glob(f"{self.mark.name}.*"):
                victim = int(found.suffix.removeprefix("."))
                os.kill(victim, signal.SIGKILL)
                found.unlink()
                return victim
            time.sleep(0.01)
        return None
