"""Print results as Markdown: python -m benchmarks.report results.json."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.report", description=__doc__)
    parser.add_argument("file", type=Path, help="what `python -m benchmarks --out` has written")
    options = parser.parse_args()
    print("\n".join(lines(json.loads(options.file.read_text()))))


def lines(results: dict[str, Any]) -> Iterator[str]:
    """Yield the report of a whole run."""
    for part in results["parts"]:
        yield from part_lines(part)
        yield ""


def part_lines(part: dict[str, Any]) -> Iterator[str]:
    """Yield the tables of one part on one engine."""
    for table in part["tables"]:
        columns = list(dict.fromkeys(column for row in table["rows"] for column in row if column != "name"))
        cells = [["", *columns]]
        cells += [[row["name"], *(spelled(row.get(column, "")) for column in columns)] for row in table["rows"]]
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        yield f"### {table['title']}, {part['engine']}"
        yield ""
        for number, row in enumerate(cells):
            first, *others = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
            yield f"| {' | '.join([first, *(cell.strip().rjust(len(cell)) for cell in others)])} |"
            if number == 0:
                rest = [f"{'-' * (width - 1)}:" for width in widths[1:]]
                yield f"| {' | '.join(['-' * widths[0], *rest])} |"
        yield ""


def spelled(figure: Any) -> str:
    if isinstance(figure, dict) and figure["min"] == figure["max"]:
        return number(figure["median"])
    if isinstance(figure, dict):
        return f"{number(figure['median'])} ({number(figure['min'])}-{number(figure['max'])})"
    return figure if isinstance(figure, str) else number(figure)


def number(value: float) -> str:
    """Spell a figure with the digits that mean something."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


if __name__ == "__main__":
    main()
