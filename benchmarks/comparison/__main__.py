"""Ask each package the same questions: python -m benchmarks.comparison [package …].

It needs PostgreSQL (POSTGRESQL_URL) and Redis (REDIS_URL), by default on this machine, and makes a database of its
own, which it drops in the end. The packages are installed from PyPI into .venv-comparison. All of them take some five
minutes.
"""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Final

from benchmarks.comparison.packages import PACKAGES, package
from benchmarks.environment import ROOT, prepared

REQUIREMENTS: Final = ROOT / "benchmarks" / "comparison" / "requirements.txt"


def main() -> int:
    """Ask the packages that are named, else all, each in a process of its own."""
    names = sys.argv[1:] or [side.name for side in PACKAGES]
    if "BENCHMARK_SIDE" in os.environ:
        return ask_one(os.environ["BENCHMARK_SIDE"])
    python = prepared(REQUIREMENTS, ROOT / ".venv-comparison")
    environment = {
        "BENCHMARK_URL": os.environ.get("POSTGRESQL_URL", "postgres://postgres@127.0.0.1:5432/postgres"),
        "BENCHMARK_DATABASE": "idempotency_comparison",
        "DJANGO_SETTINGS_MODULE": "benchmarks.comparison.settings",
        "PYTHONPATH": str(ROOT),
    }
    command = [python, "-m", "benchmarks.comparison"]
    statuses = []
    for name in names:
        own = {**os.environ, **environment, "BENCHMARK_SIDE": name}
        statuses.append(subprocess.run(command, cwd=ROOT, env=own, check=False).returncode)
    return max(statuses)


def ask_one(name: str) -> int:
    """Ask one package, in its own environment, and print what it did."""
    import django

    django.setup()

    from django.contrib.auth.models import User

    from benchmarks.comparison.questions import ask
    from benchmarks.database import own_database
    from benchmarks.server import serving

    with own_database(), serving(package(name), threads=8) as server:
        User.objects.create(pk=2, username="customer2")
        print(f"\n{name}")
        for question, answer in ask(server).items():
            print(f"  {question:<30} {answer}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
