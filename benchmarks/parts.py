"""What there is to measure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

POSTGRESQL, MARIADB, SQLITE = ENGINES = ("postgresql", "mariadb", "sqlite")


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A module of this package with a function `measure(scale)`: the engines it is for, and whether it needs wrk."""

    engines: tuple[str, ...] = ENGINES
    wrk: bool = False


PARTS: Final = {
    "inprocess": Part(),
    "http": Part(wrk=True),
    "latency": Part(engines=(POSTGRESQL,)),
    "contention": Part(engines=(POSTGRESQL, MARIADB), wrk=True),
    "growth": Part(engines=(POSTGRESQL,)),
    "purge": Part(),
    "upload": Part(engines=(POSTGRESQL,)),
    "admin": Part(engines=(POSTGRESQL,)),
    "indexes": Part(engines=(POSTGRESQL,)),
}
