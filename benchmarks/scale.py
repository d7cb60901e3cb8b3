"""How much of everything is measured."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """Numbers of rounds, of what is done in one turn, and of what there is to begin with.

    - *rounds*, *requests*: in process, where one side's turn is as many requests.
    - *http_rounds*, *http_seconds*: over HTTP, where it takes as long.
    - *long_rounds*, *seconds*: of contention and uploads; and how long nothing disturbs what a purge disturbs.
    - *replayed_keys*: how many keys are replayed over and over.
    - *clients*: how many contend.
    - *growth_rows*, *sized_keys*: how many keys there are before, and how many are made to see what they take.
    - *purge_rounds*, *purge_rows*: turns of a purge, and how many keys have expired before each.
    - *admin_rows*: how many keys the admin's pages, and the tables that get one index more, have.
    - *upload_chunks*: the MiB of an upload.
    """

    rounds: int
    requests: int
    http_rounds: int
    http_seconds: float
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
    http_rounds=40,
    http_seconds=1,
    long_rounds=7,
    seconds=4,
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
    http_rounds=1,
    http_seconds=1,
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
    if rounds is None:
        return chosen
    return replace(chosen, rounds=rounds, http_rounds=rounds, long_rounds=rounds, purge_rounds=rounds)
