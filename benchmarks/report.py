"""Print results as Markdown, or write them into a page: python -m benchmarks.report results.json [--into FILE].

The page says where, by a line `<!-- results -->` before, and a line `<!-- end of results -->` after them.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from benchmarks.goals import verdicts

ENGINES: Final = {"postgresql": "PostgreSQL", "mariadb": "MariaDB", "sqlite": "SQLite"}
BEGIN, END = "<!-- results -->\n", "<!-- end of results -->\n"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.report", description=__doc__)
    parser.add_argument("file", type=Path, help="what `python -m benchmarks --out` has written")
    parser.add_argument("--into", type=Path, metavar="FILE", help="the page to write them into")
    options = parser.parse_args()
    text = "\n".join(report_lines(json.loads(options.file.read_text()))).rstrip() + "\n"
    if options.into is None:
        print(text, end="")
        return
    before, _, rest = options.into.read_text().partition(BEGIN)
    _, end, after = rest.partition(END)
    if not end:
        parser.error(f"{options.into} lacks the lines {BEGIN.strip()} and {END.strip()}; add them where results belong")
    options.into.write_text(f"{before}{BEGIN}\n{text}\n{END}{after}")


def report_lines(results: dict[str, Any]) -> Iterator[str]:
    """Yield the report of a whole run: the goals first, then each part's tables."""
    cells = [
        [f"{goal.part}: {goal.row}", goal.column, goal.spelled, spelled(figure), "yes" if reached else "no"]
        for goal, figure, reached in verdicts(results)
    ]
    if cells:
        yield "### Goals, on PostgreSQL"
        yield ""
        yield from table_lines([["", "figure", "goal", "measured", "reached"], *cells])
        yield ""
    for part in results["parts"]:
        yield from part_lines(part)


def part_lines(part: dict[str, Any]) -> Iterator[str]:
    """Yield the tables of one part on one engine."""
    for table in part["tables"]:
        columns = list(dict.fromkeys(column for row in table["rows"] for column in row if column != "name"))
        cells = [[row["name"], *(spelled(row.get(column, "")) for column in columns)] for row in table["rows"]]
        yield f"### {table['title']}: {ENGINES[part['engine']]}"
        yield ""
        yield from table_lines([["", *columns], *cells])
        yield ""
    facts = ", ".join(f"{name} {value}" for name, value in (part["versions"] | part["server"]).items())
    yield f"`{part['command']}`, {part['date'][:10]}: {facts}; {part['cores']} cores, load {part['load_before']:.1f}."
    yield ""


def table_lines(cells: Sequence[Sequence[str]]) -> Iterator[str]:
    """Yield a table, the first row of which is its head."""
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for index, row in enumerate(cells):
        first, *others = zip(row, widths, strict=True)
        yield f"| {' | '.join([first[0].ljust(first[1]), *(cell.rjust(width) for cell, width in others)])} |"
        if index == 0:
            yield f"| {' | '.join(['-' * widths[0], *('-' * (width - 1) + ':' for width in widths[1:])])} |"


def spelled(figure: Any) -> str:
    """Spell a figure, with its quartiles."""
    if isinstance(figure, dict) and figure["low"] == figure["high"]:
        return number(figure["median"])
    if isinstance(figure, dict):
        return f"{number(figure['median'])} ({number(figure['low'])} to {number(figure['high'])})"
    return figure if isinstance(figure, str) else number(figure)


def number(value: float) -> str:
    """Spell a figure with the digits that mean something."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


if __name__ == "__main__":
    main()
