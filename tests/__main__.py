"""Run the whole suite once per database engine: python -m tests [--engines …] [pytest …].

Exit status 0 means that it ran, and passed, on every engine that was asked for. No test may be
skipped here: what does not apply to an engine is deselected by its marker.

TEST_COVERAGE names engines on which coverage is measured, into the files that COVERAGE_FILE names.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from tests.engines import DEFAULT_ENGINES, ENGINES


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What one engine's run came to."""

    engine: str
    status: int
    seconds: float
    counts: dict[str, int]
    server: str

    @property
    def fault(self) -> str:
        """Say why this run does not count as a success; empty when it does."""
        if not self.server:
            return "did not run"
        if self.status:
            return f"pytest ended with status {self.status}"
        if not self.counts.get("passed"):
            return "no test ran"
        if self.counts.get("skipped"):
            return "skipped tests; deselect them with the engine marker instead"
        return ""

    def __str__(self) -> str:
        counts = ", ".join(f"{number} {outcome}" for outcome, number in self.counts.items())
        line = f"{self.engine:<20} {self.server or 'no server':<40} {self.seconds:4.0f} s  {counts}"
        return f"{line}  FAILED: {self.fault}" if self.fault else line


def main(argv: Sequence[str]) -> int:
    """Run every engine asked for, print a line for each, return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests", allow_abbrev=False)
    parser.add_argument(
        "--engines",
        default=",".join(DEFAULT_ENGINES),
        help=f"comma-separated, of: {', '.join(ENGINES)} (default: %(default)s)",
    )
    options, pytest_arguments = parser.parse_known_args(argv)
    names = options.engines.split(",")
    if unknown := set(names) - set(ENGINES):
        parser.error(f"unknown engine: {', '.join(sorted(unknown))}")
    # A server must be stopped, too, when this process is told to end. Shells let the children that
    # they start in the background ignore SIGINT, which pytest must not.
    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    results = [run(name, pytest_arguments) for name in names]
    print(*["", *results], sep="\n")
    return 1 if any(result.fault for result in results) else 0


def run(name: str, pytest_arguments: Sequence[str]) -> Result:
    """Run the suite on the engine called *name*, in a process of its own."""
    print(f"\n{name}", flush=True)
    started = time.monotonic()
    command = [sys.executable, "-m", "pytest", *pytest_arguments]
    if name in os.environ.get("TEST_COVERAGE", "").split(","):
        command[1:1] = ["-m", "coverage", "run"]
    report: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="idempotency-") as directory:
        path = Path(directory) / "report.json"
        try:
            with ENGINES[name].serve() as url:
                environment = {
                    **os.environ,
                    "DATABASE_URL": url,
                    "TEST_ENGINE": name,
                    "TEST_REPORT": str(path),
                }
                status = call(command, environment)
        except (ImportError, OSError, RuntimeError, subprocess.SubprocessError) as exc:
            print(f"{name} cannot be started: {exc!r}", file=sys.stderr)
            status = 1
        if path.exists():
            report = json.loads(path.read_text())
    return Result(
        engine=name,
        status=status,
        seconds=time.monotonic() - started,
        counts=report.get("counts", {}),
        server=report.get("server", ""),
    )


def call(command: Sequence[str], environment: Mapping[str, str]) -> int:
    """Run *command* and return its status; told to end, let it stop the servers that it started."""
    with subprocess.Popen(command, env=environment) as process:
        try:
            return process.wait()
        except BaseException:
            process.send_signal(signal.SIGINT)
            raise


def end(number: int, frame: FrameType | None) -> None:
    """Leave by way of every `finally`."""
    sys.exit(128 + number)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
