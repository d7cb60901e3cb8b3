"""Delete all expired keys, in a process of its own: python -m benchmarks.deletion purge|delete [BATCH_SIZE].

It prints how many went, and the seconds that it took.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import django

from benchmarks.environment import ROOT

PURGE, DELETE = "purge", "delete"


@dataclass(frozen=True, slots=True)
class Deletion:
    deleted: int
    seconds: float

    @property
    def per_second(self) -> float:
        return self.deleted / self.seconds


def run(how: str) -> Deletion:
    """Start the process, and return what it has done."""
    command = [sys.executable, "-m", "benchmarks.deletion", how]
    return Deletion(**json.loads(subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE).stdout))


def main(how: str) -> None:
    django.setup()
    started = time.perf_counter()
    deleted = WAYS[how]()
    print(json.dumps({"deleted": deleted, "seconds": time.perf_counter() - started}))


def purge() -> int:
    from django_idempotency.purge import purge

    return purge().deleted


def delete() -> int:
    """Delete them in one plain statement."""
    from django.db import connection
    from django.utils import timezone

    from django_idempotency.models import IdempotencyKey

    with connection.cursor() as cursor:
        now = connection.ops.adapt_datetimefield_value(timezone.now())
        cursor.execute(f"DELETE FROM {IdempotencyKey._meta.db_table} WHERE expires <= %s", [now])
        return int(cursor.rowcount)


WAYS: Final[dict[str, Callable[[], int]]] = {PURGE: purge, DELETE: delete}


if __name__ == "__main__":
    main(sys.argv[1])
