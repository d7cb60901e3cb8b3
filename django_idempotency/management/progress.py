"""How far a purge is: a bar on a terminal, where tqdm is installed; elsewhere a plain line now and then."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

from django.core.management.base import OutputWrapper

from django_idempotency.purge import Purged

Show = Callable[[Purged], None]

# The seconds between two plain lines.
_INTERVAL: Final = 5.0


@contextmanager
def progress(out: OutputWrapper, *, total: Callable[[], int]) -> Iterator[Show]:
    """Yield what shows each state of a purge on *out*; *total* counts the rows, and is asked only for a bar."""
    bar_class = _bar_class() if out.isatty() else None
    if bar_class is None:
        yield _lines(out)
        return
    with bar_class(file=_Terminal(out), total=total(), unit=" rows", unit_scale=True, leave=False) as bar:

        def show(purged: Purged) -> None:
            bar.update(purged.rows - bar.n)

        yield show


def describe(purged: Purged) -> str:
    """Return in words what a purge has done."""
    erased = f", {purged.erased:,} erased" if purged.erased else ""
    left = f"; {purged.left:,} left to others, who held, renewed or deleted them" if purged.left else ""
    return f"{purged.deleted:,} deleted{erased} in {purged.seconds:.1f} s ({purged.rate:,.0f} a second){left}"


def _lines(out: OutputWrapper) -> Show:
    shown = time.monotonic()

    def show(purged: Purged) -> None:
        nonlocal shown
        if time.monotonic() - shown >= _INTERVAL:
            shown = time.monotonic()
            out.write(describe(purged))
            out.flush()

    return show


def _bar_class() -> Any:
    """Return tqdm's class, or None where it is not installed."""
    try:
        from tqdm import tqdm  # noqa: PLC0415 - an extra
    except ImportError:
        return None
    return tqdm


class _Terminal:
    """Where the bar is drawn, which brings its own ends of lines."""

    def __init__(self, out: OutputWrapper) -> None:
        self._out = out

    def write(self, text: str) -> None:
        self._out.write(text, ending="")

    def __getattr__(self, name: str) -> Any:
        return getattr(self._out, name)
