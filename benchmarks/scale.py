"""How much of everything is measured."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    rounds: int
    # Requests of one side in one round, in process; and how long one side's turn takes over HTTP.
    requests: int
    seconds: float


FULL: Final = Scale(rounds=60, requests=25, seconds=5.0)
QUICK: Final = Scale(rounds=2, requests=3, seconds=0.5)


def scale(*, quick: bool, rounds: int | None) -> Scale:
    chosen = QUICK if quick else FULL
    return chosen if rounds is None else replace(chosen, rounds=rounds)
