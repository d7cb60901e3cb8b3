"""Keys per hour and per day by the class of their status, as what an SVG is drawn from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from django.utils.formats import date_format, number_format
from django.utils.translation import gettext_lazy, ngettext

from django_idempotency.admin.tallies import Tally, local

if TYPE_CHECKING:
    from django.utils.functional import _StrPromise

# The field that the bars stand on, in units of the drawing, which is 480 wide and 150 high.
LEFT: Final = 44
RIGHT: Final = 468
TOP: Final = 12
BOTTOM: Final = 126

# The classes from the axis upwards; each is the name of a CSS class, too.
CLASSES: Final[dict[str, str | _StrPromise]] = {
    "2xx": "2xx",
    "3xx": "3xx",
    "4xx": "4xx",
    "5xx": "5xx",
    "other": gettext_lazy("no status"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """From the *number* of bars, and from counts up to *top*, to places in the drawing."""

    top: int
    number: int

    def x(self, index: float) -> float:
        return LEFT + (RIGHT - LEFT) * index / self.number

    def y(self, count: float) -> float:
        return BOTTOM - (BOTTOM - TOP) * count / self.top


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """A part of a bar. The numbers of a drawing are strings: no locale may put a comma into them."""

    css: str
    x: str
    y: str
    width: str
    height: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """An hour or a day, and its numbers in the order of the classes."""

    label: str
    numbers: Sequence[str]
    total: str
    summary: str
    x: str
    width: str
    pieces: Sequence[Piece]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tick:
    """A mark on an axis."""

    position: str
    label: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """One drawing; `is_estimate` tells that its numbers come from a sample."""

    name: str
    title: str
    description: str
    is_estimate: bool
    labels: Sequence[tuple[str, str]]
    bars: Sequence[Bar]
    x_ticks: Sequence[Tick]
    y_ticks: Sequence[Tick]


def chart_of(tally: Tally, *, name: str, title: str, date: str, every: int) -> Chart:
    """Return the drawing of *tally*, with the classes that occur in it.

    Its parts are called by their beginning in the format *date*; each *every*-th one has its name on the axis.
    """
    present = [css for css in CLASSES if any(counts[css] for counts in tally.counts)]
    scale = Scale(top=ceiling(max(counts.total() for counts in tally.counts)), number=len(tally.counts))
    bars = [
        _bar(counts, present, scale, index=index, label=date_format(local(start), date))
        for index, (start, counts) in enumerate(zip(tally.span.starts, tally.counts, strict=True))
    ]
    return Chart(
        name=name,
        title=title,
        description=_describe(sum(tally.counts, Counter[str]())),
        is_estimate=tally.is_estimate,
        labels=[(css, str(CLASSES[css])) for css in present],
        bars=bars,
        x_ticks=[
            Tick(position=f"{scale.x(index + 0.5):.1f}", label=bar.label)
            for index, bar in enumerate(bars)
            if (len(bars) - 1 - index) % every == 0
        ],
        y_ticks=[
            Tick(position=f"{scale.y(number):.1f}", label=grouped(number)) for number in (0, scale.top // 2, scale.top)
        ],
    )


def ceiling(number: int) -> int:
    """Return the least even, round number that is not below *number*: where the axis ends."""
    unit = int("1".ljust(len(str(number)), "0"))
    tops = (unit * step for step in (1, 2, 4, 6, 8, 10))
    return next(top for top in tops if top >= number and top % 2 == 0)


def grouped(number: int) -> str:
    """Spell *number* with separators, as 1,234."""
    return str(number) if number < 1000 else str(number_format(number, force_grouping=True))


def _bar(counts: Counter[str], present: Sequence[str], scale: Scale, *, index: int, label: str) -> Bar:
    return Bar(
        label=label,
        numbers=[grouped(counts[css]) for css in present],
        total=grouped(counts.total()),
        summary=f"{label}: {_describe(counts)}",
        x=f"{scale.x(index):.1f}",
        width=f"{scale.x(1) - scale.x(0):.1f}",
        pieces=list(_stack(counts, present, scale, index)),
    )


def _stack(counts: Counter[str], present: Sequence[str], scale: Scale, index: int) -> Iterator[Piece]:
    below = 0
    for css in present:
        if counts[css]:
            lower, upper = scale.y(below), scale.y(below + counts[css])
            yield Piece(
                css=css,
                x=f"{scale.x(index + 0.1):.1f}",
                y=f"{upper:.1f}",
                width=f"{scale.x(0.8) - scale.x(0):.1f}",
                height=f"{lower - upper:.1f}",
            )
        below += counts[css]


def _describe(counts: Counter[str]) -> str:
    """Say in words what the drawing shows."""
    total = counts.total()
    number = ngettext("%s key", "%s keys", total) % grouped(total)
    shares = ", ".join(f"{label}: {grouped(counts[css])}" for css, label in CLASSES.items() if counts[css])
    return f"{number} ({shares})" if shares else number
