"""What is to be reached on PostgreSQL; where a figure falls short, the code is mended."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from benchmarks.parts import POSTGRESQL


@dataclass(frozen=True, slots=True, kw_only=True)
class Goal:
    """The least, or the most, that the median of one figure is to be."""

    part: str
    row: str
    column: str
    least: float | None = None
    most: float | None = None

    @property
    def spelled(self) -> str:
        return f"at most {self.most}" if self.least is None else f"at least {self.least}"

    def is_reached(self, figure: float) -> bool:
        return (self.least is None or figure >= self.least) and (self.most is None or figure <= self.most)


FIRST, REPLAY, SPEED = "django-idempotency, first", "django-idempotency, replay", "speed / atomic"
MANY: Final = "10,000,000 keys"
GOALS: Final = (
    Goal(part="inprocess", row=FIRST, column=SPEED, least=0.75),
    Goal(part="inprocess", row=REPLAY, column=SPEED, least=1.0),
    Goal(part="http", row=FIRST, column=SPEED, least=0.85),
    Goal(part="http", row=REPLAY, column=SPEED, least=1.0),
    Goal(part="latency", row=FIRST, column=SPEED, least=0.9),
    Goal(part="growth", row=MANY, column="time / least keys", most=1.15),
    Goal(part="growth", row=MANY, column="replay, time / least keys", most=1.15),
)


def verdicts(results: dict[str, Any]) -> Iterator[tuple[Goal, dict[str, float], bool]]:
    """Yield each goal whose figure is there, the figure, and whether it reaches the goal."""
    for goal in GOALS:
        for part in results["parts"]:
            if (part["part"], part["engine"]) != (goal.part, POSTGRESQL):
                continue
            for row in (row for table in part["tables"] for row in table["rows"]):
                if row["name"] == goal.row and goal.column in row:
                    yield goal, row[goal.column], goal.is_reached(row[goal.column]["median"])
