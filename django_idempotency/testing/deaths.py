"""Where a worker dies, and what it had done by then."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from django_idempotency.testing.sources import shortened, text_of


class Moment(Enum):
    """What happens at a statement or line."""

    BEFORE = "The worker died just before"
    AFTER = "The worker died just after"
    REFUSED = "The database canceled"
    AT = "The worker died at"


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """One statement that a request ran; COMMIT is one, too."""

    number: int
    sql: str
    alias: str
    place: str
    thread: str
    """The name of the thread, if it is another one than the request's."""
    transaction: tuple[int, int] | None
    """Which connection's which transaction; None in autocommit."""
    in_commit_hook: bool

    def __str__(self) -> str:
        sql = self.sql if len(self.sql) <= 120 else f"{self.sql[:80]} ... {self.sql[-35:]}"
        place = f" [{self.place}]" if self.place else ""
        return f"statement {self.number} on {self.alias!r}: {sql}{place}"

    @property
    def brief(self) -> str:
        """Which one it is, for a sentence."""
        place = f" [{self.place}]" if self.place else ""
        return f"statement {self.number}, {' '.join(self.sql.split()[:3])} ...{place}"

    @property
    def writes(self) -> bool:
        """Whether it changes rows."""
        return self.sql.lstrip(" (").upper().startswith(("INSERT", "UPDATE", "DELETE", "REPLACE", "MERGE", "WITH"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One line of the project's code that a request ran."""

    filename: str
    number: int

    def __str__(self) -> str:
        return f"{shortened(self.filename)}:{self.number}: {text_of(self.filename, self.number)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fate:
    """What is to happen to a worker: at the statement of this number, or at this line when it first comes there."""

    moment: Moment
    statement: int = 0
    line: Line | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """An effect in memory was seen to be another than before."""

    gauge: str
    after: Statement | None
    in_commit_hook: bool
    thread: str
