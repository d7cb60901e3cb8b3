"""Turns that are taken in rounds, so that what else the machine does falls on all sides alike."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")


def interleaved(turns: Mapping[str, Callable[[], T]], *, rounds: int, warm_up: int = 1) -> dict[str, list[T]]:
    """Let each side take its turn in every round, and return what they measured, by side, round by round.

    Rounds begin with one side after the other. The first *warm_up* rounds do not count.
    """
    names = list(turns)
    measured: dict[str, list[T]] = {name: [] for name in names}
    for number in range(-warm_up, rounds):
        start = number % len(names)
        for name in names[start:] + names[:start]:
            value = turns[name]()
            if number >= 0:
                measured[name].append(value)
    return measured


@dataclass(frozen=True, slots=True)
class Cost:
    """What a request took, in seconds.

    - *wall*: by the clock, the median of a turn: what else ran meanwhile made a few of its requests much slower.
    - *cpu*: on the CPU, on average, in this process and in the one that serves its database connection.
    """

    wall: float
    cpu: float


class Stopwatch:
    """Measure requests of this process, whose database connection the process *pid* serves, if one does alone."""

    def __init__(self, *, pid: int | None = None) -> None:
        self.pid = pid

    def cost(self, requests: Sequence[Callable[[], object]]) -> Cost:
        """Run *requests* one after the other."""
        walls = []
        cpu = self.cpu_seconds()
        for run in requests:
            started = time.perf_counter()
            run()
            walls.append(time.perf_counter() - started)
        return Cost(statistics.median(walls), (self.cpu_seconds() - cpu) / len(requests))

    def cpu_seconds(self) -> float:
        return time.process_time() + cpu_seconds(self.pid)


def cpu_seconds(pid: int | None) -> float:
    """Return how long another process has worked so far; 0 if there is none, or if it is another machine's."""
    if pid is None:
        return 0.0
    try:
        return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1e9
    except OSError:
        pass
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
