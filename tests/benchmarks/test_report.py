"""What is done with figures, once they are measured."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks.__main__ import keep
from benchmarks.goals import FIRST, SPEED
from tests.docs.markdown import ROOT

# It asks no database.
pytestmark = pytest.mark.engine("sqlite")

PAGE = "Before\n\n<!-- results -->\nold\n<!-- end of results -->\n\nAfter\n"


def part(name: str = "inprocess", *, median: float = 0.8, engine: str = "postgresql") -> dict[str, Any]:
    return {
        "part": name,
        "engine": engine,
        "command": "python -m benchmarks",
        "date": "2026-11-24T00:00:00+00:00",
        "cores": 2,
        "load_before": 0.25,
        "versions": {"Django": "5.2"},
        "server": {"fsync": "on"},
        "tables": [
            {
                "title": "In process",
                "rows": [
                    {"name": "bare", "ms": 1234.5, SPEED: {"median": 1.0, "low": 1.0, "high": 1.0}},
                    {"name": FIRST, "ms": 12.34, SPEED: {"median": median, "low": 0.5, "high": 0.9}},
                ],
            }
        ],
    }


@pytest.fixture
def results(tmp_path: Path) -> Path:
    path = tmp_path / "results.json"
    keep(part(), path)
    return path


def report(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "benchmarks.report", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


class TestReport:
    def test_figure_is_spelled_with_what_it_varied_between(self, results):
        lines = report(results).stdout.splitlines()

        assert "### In process: PostgreSQL" in lines
        assert f"| {FIRST} |  12.3 | 0.80 (0.50 to 0.90) |" in lines

    def test_figure_that_did_not_vary_is_one_number(self, results):
        assert f"| {'bare'.ljust(len(FIRST))} | 1,234 |                1.00 |" in report(results).stdout.splitlines()

    @pytest.mark.parametrize(("median", "verdict"), [(0.75, "yes"), (0.74, "no")])
    def test_goal_is_reached_or_not(self, results, median, verdict):
        keep(part(median=median), results)

        (line,) = (line for line in report(results).stdout.splitlines() if line.startswith(f"| inprocess: {FIRST}"))

        assert line.endswith(f" {verdict} |")
        assert "at least 0.75" in line

    def test_goals_are_those_of_postgresql(self, tmp_path):
        keep(part(engine="mariadb"), tmp_path / "results.json")

        assert "Goals" not in report(tmp_path / "results.json").stdout

    def test_into_replaces_what_the_page_had(self, results, tmp_path):
        page = tmp_path / "page.md"
        page.write_text(PAGE)

        for _ in range(2):
            assert report(results, "--into", page).returncode == 0

        text = page.read_text()
        assert text.count("### In process: PostgreSQL") == 1
        assert text.startswith("Before\n\n<!-- results -->\n\n### Goals")
        assert text.endswith("\n\n<!-- end of results -->\n\nAfter\n")
        assert "old" not in text

    def test_page_without_a_place_for_them_is_left_as_it_is(self, results, tmp_path):
        page = tmp_path / "page.md"
        page.write_text("Before\n")

        refused = report(results, "--into", page)

        assert refused.returncode == 2
        assert "add them where results belong" in refused.stderr
        assert page.read_text() == "Before\n"


class TestOut:
    def test_part_takes_the_place_of_its_earlier_results_alone(self, results):
        keep(part("http"), results)
        keep(part(engine="sqlite"), results)
        keep(part(median=0.9), results)

        parts = json.loads(results.read_text())["parts"]
        assert [(each["part"], each["engine"]) for each in parts] == [
            ("inprocess", "postgresql"),
            ("inprocess", "sqlite"),
            ("http", "postgresql"),
        ]
        assert parts[0]["tables"][0]["rows"][1][SPEED]["median"] == 0.9
