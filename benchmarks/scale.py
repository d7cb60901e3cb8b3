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
    - *clients*: how many contend.
    - *growth_rows*, *sized_keys*: how many keys there are before, and how many are made to see what they take.
    - *purge_rounds*, *purge_rows*: turns of a purge, and how many keys have expired before each.
    - *admin_rows*: how many keys the admin's pages, and the tables that get one index more, have.
    - *upload_chunks*: the MiB of an upload.
    """

    rounds: int
    requests: int
    long_rounds: int
    seconds: float
    replayed_keys: int
    clients: int
    growth_rows: tuple[int, ...]
    sized_keys: int
    purge_rounds: int
    purge_rows: int
    admin_rows: int
    upload_chunks: int


FULL: Final = Scale(
    rounds=200,
    requests=7,
    long_rounds=40,
    seconds=1,
    replayed_keys=1000,
    clients=64,
    growth_rows=(10_000, 1_000_000, 10_000_000),
    sized_keys=2000,
    purge_rounds=3,
    purge_rows=300_000,
    admin_rows=2_000_000,
    upload_chunks=200,
)
QUICK: Final = Scale(
    rounds=2,
    requests=3,
    long_rounds=1,
    seconds=1,
    replayed_keys=20,
    clients=8,
    growth_rows=(100, 1000),
    sized_keys=50,
    purge_rounds=1,
    purge_rows=5000,
    admin_rows=10_000,
    upload_chunks=5,
)


def scale(*, quick: bool, rounds: int | None) -> Scale:
    chosen = QUICK if quick else FULL
    return chosen if rounds is None else replace(chosen, rounds=rounds, long_rounds=rounds, purge_rounds=rounds)
