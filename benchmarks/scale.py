"""How much of everything is measured."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """Numbers of rounds, of what is done in one turn, and of what there is to begin with.

    - *rounds*, *requests*: in process, where one side's turn is as many requests.
    - *long_rounds*, *seconds*: over HTTP, where it takes as long.
    - *replayed_keys*: how many keys are replayed over and over.
    """

    rounds: int
    requests: int
    long_rounds: int
    seconds: float
    replayed_keys: int


FULL: Final = Scale(rounds=60, requests=25, long_rounds=7, seconds=4, replayed_keys=1000)
QUICK: Final = Scale(rounds=2, requests=3, long_rounds=1, seconds=1, replayed_keys=20)


def scale(*, quick: bool, rounds: int | None) -> Scale:
    chosen = QUICK if quick else FULL
    return chosen if rounds is None else replace(chosen, rounds=rounds, long_rounds=rounds)
