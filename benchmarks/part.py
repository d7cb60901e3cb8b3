"""Measure one part on one engine, in a process of its own: what `python -m benchmarks` starts."""

from __future__ import annotations

import argparse
import json
import platform
import time
from importlib import import_module
from importlib.metadata import version
from pathlib import Path

import django


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.part", description=__doc__)
    parser.add_argument("part")
    parser.add_argument("out", type=Path)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--rounds", type=int)
    options = parser.parse_args()
    django.setup()

    from benchmarks.database import facts, own_database
    from benchmarks.scale import scale

    started = time.monotonic()
    with own_database():
        tables = import_module(f"benchmarks.{options.part}").measure(
            scale(quick=options.quick, rounds=options.rounds),
        )
        figures = {
            "server": facts(),
            "versions": {
                "Python": platform.python_version(),
                "Django": version("Django"),
                "djangorestframework": version("djangorestframework"),
            },
            "tables": [table.as_json() for table in tables],
            "seconds": time.monotonic() - started,
        }
    options.out.write_text(json.dumps(figures))


if __name__ == "__main__":
    main()
