"""What a part hands back: tables of figures, each figure with what it varied between."""

from __future__ import annotations

import statistics
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, TypeAlias


@dataclass(frozen=True, slots=True)
class Spread:
    """A figure that was taken once a round: its median, and the quartiles, between which half of the rounds lie."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Iterable[float]) -> Spread:
        taken = list(values)
        low, median, high = statistics.quantiles(taken, n=4, method="inclusive") if len(taken) > 1 else taken * 3
        return cls(median, low, high)


Figure: TypeAlias = Spread | float | int | str


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Figures, a row for each of what is compared.

    - *title*: what was done, in a sentence that needs no other.
    - *rows*: a name, and its figures by their columns' names.
    """

    title: str
    rows: dict[str, dict[str, Figure]]

    def as_json(self) -> dict[str, Any]:
        return {
            "title": self.title,
            "rows": [
                {
                    "name": name,
                    **{
                        column: {"median": figure.median, "low": figure.low, "high": figure.high}
                        if isinstance(figure, Spread)
                        else figure
                        for column, figure in figures.items()
                    },
                }
                for name, figures in self.rows.items()
            ],
        }
