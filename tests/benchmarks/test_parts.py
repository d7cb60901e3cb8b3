"""The benchmarks run, and hand back what they promise. What they measure here means nothing."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks.parts import PARTS
from tests.docs.markdown import ROOT

pytestmark = pytest.mark.long


def marked(name: str) -> Any:
    part = PARTS[name]
    return pytest.param(
        name, marks=[pytest.mark.engine(*part.engines), *([pytest.mark.tool("wrk")] if part.wrk else [])]
    )


@pytest.mark.parametrize("part", list(map(marked, PARTS)))
def test_part_hands_back_tables(part: str, engine: str, tmp_path: Path) -> None:
    out = tmp_path / "results.json"
    command = [sys.executable, "-m", "benchmarks", part, f"--engines={engine}", f"--out={out}"]
    command += ["--quick", "--without-peers", f"--database={os.environ.get('TEST_DATABASE_NAME', 'test')}_benchmark"]
    url = os.environ["DATABASE_URL"]
    environment = {**os.environ, "POSTGRESQL_URL": url, "MARIADB_URL": url}

    run = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)

    assert run.returncode == 0, run.stderr
    (result,) = json.loads(out.read_text())["parts"]
    assert (result["part"], result["engine"]) == (part, engine)
    assert result["tables"]
    report = reported(out)
    for table in result["tables"]:
        assert table["rows"]
        assert f"### {table['title']}: " in report
        for row in table["rows"]:
            assert f"| {row['name']} " in report


def reported(out: Path) -> str:
    command = [sys.executable, "-m", "benchmarks.report", str(out)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
