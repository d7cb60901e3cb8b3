"""Measure everything: python -m benchmarks [part …].

    python -m benchmarks                                  all parts on all engines
    python -m benchmarks inprocess --engines postgresql   one part on one engine
    python -m benchmarks --quick --without-peers          a trial, in the environment that runs it

It needs PostgreSQL and MariaDB (POSTGRESQL_URL and MARIADB_URL say where, by default on this machine), and makes
databases of its own there, which it drops in the end. The peers are installed from PyPI into .venv-benchmarks, and
everything is measured in there. `python -m benchmarks.report FILE` prints the results that `--out FILE` has kept.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import Any

from benchmarks.environment import ROOT, prepared
from benchmarks.parts import ENGINES, MARIADB, PARTS, POSTGRESQL, SQLITE
from benchmarks.report import part_lines


def main() -> int:
    """Run what was asked for, and print each part's tables as soon as they are there."""
    options = parse()
    # Shells let the children that they start in the background ignore SIGINT.
    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    python = sys.executable if options.without_peers else prepared()
    failed = False
    for name in options.parts:
        for engine in PARTS[name].engines:
            if engine not in options.engines:
                continue
            part = run(name, engine, python, options)
            if part is None:
                failed = True
                continue
            print("\n".join(part_lines(part)), flush=True)
            if options.out:
                keep(part, options.out)
    return int(failed)


def keep(part: dict[str, Any], out: Path) -> None:
    """Write the part's results beside those of others, in place of its earlier ones."""
    parts = json.loads(out.read_text())["parts"] if out.exists() else []
    kept = {(each["part"], each["engine"]): each for each in [*parts, part]}
    order = [(name, engine) for name in PARTS for engine in ENGINES]
    parts = sorted(kept.values(), key=lambda each: order.index((each["part"], each["engine"])))
    out.write_text(json.dumps({"parts": parts}, indent=1) + "\n")


def parse() -> argparse.Namespace:
    summary, _, rest = (__doc__ or "").partition("\n")
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description=summary,
        epilog=rest,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("parts", nargs="*", metavar="part", help=f"of: {', '.join(PARTS)} (default: all)")
    parser.add_argument("--engines", default=",".join(ENGINES), help="comma-separated (default: %(default)s)")
    parser.add_argument("--rounds", type=int, help="how often each side takes its turn")
    parser.add_argument("--quick", action="store_true", help="small numbers, which show that it runs and no more")
    parser.add_argument("--without-peers", action="store_true", help="install nothing, and leave the peers out")
    parser.add_argument("--database", default="idempotency_benchmark", help="the database to make (%(default)s)")
    parser.add_argument("--out", type=Path, metavar="FILE", help="keep the results there, as JSON, beside other parts'")
    options = parser.parse_args()
    options.parts = options.parts or list(PARTS)
    options.engines = options.engines.split(",")
    for unknown in {*options.parts} - {*PARTS} | {*options.engines} - {*ENGINES}:
        parser.error(f"there is no part and no engine called {unknown}")
    if shutil.which("wrk") is None and (needing := [name for name in options.parts if PARTS[name].wrk]):
        parser.error(f"{', '.join(needing)} needs wrk: apt-get install wrk, or name the other parts")
    return options


def run(name: str, engine: str, python: str, options: argparse.Namespace) -> dict[str, Any] | None:
    """Measure one part on one engine, in a process of its own; return None if it failed."""
    print(f"{name}, {engine} …", file=sys.stderr, flush=True)
    with tempfile.TemporaryDirectory(prefix="idempotency-benchmark-") as directory:
        out = Path(directory) / "results.json"
        command = [python, "-m", "benchmarks.part", name, str(out)]
        command += ["--quick"] if options.quick else []
        command += ["--rounds", str(options.rounds)] if options.rounds else []
        environment = {
            **os.environ,
            "BENCHMARK_URL": url(engine, directory),
            "BENCHMARK_DATABASE": options.database,
            "DJANGO_SETTINGS_MODULE": "benchmarks.project.settings",
            "PYTHONPATH": str(ROOT),
        }
        load = os.getloadavg()[0]
        if call(command, environment):
            print(f"{name}, {engine}: failed", file=sys.stderr, flush=True)
            return None
        return {
            "part": name,
            "engine": engine,
            "command": " ".join(["python -m benchmarks", *sys.argv[1:]]),
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
            "system": platform.platform(),
            "cores": os.cpu_count(),
            "load_before": load,
            **json.loads(out.read_text()),
        }


def call(command: Sequence[str], environment: Mapping[str, str]) -> int:
    """Run *command* and return its status; told to end, let it stop its servers and drop its database."""
    with subprocess.Popen(command, env=environment, cwd=ROOT) as process:
        try:
            return process.wait()
        except BaseException:
            process.send_signal(signal.SIGINT)
            raise


def end(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 - what the signal module calls
    """Leave by way of every `finally`."""
    sys.exit(128 + number)


def url(engine: str, directory: str) -> str:
    return {
        POSTGRESQL: os.environ.get("POSTGRESQL_URL", "postgres://postgres@127.0.0.1:5432/postgres"),
        MARIADB: os.environ.get("MARIADB_URL", "mysql://root@127.0.0.1:3306/test"),
        SQLITE: f"sqlite:///{directory}/server.sqlite3",
    }[engine]


if __name__ == "__main__":
    sys.exit(main())
