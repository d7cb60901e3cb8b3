"""The environment that everything is measured in: ours, and the peers, on one Django."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parent.parent
REQUIREMENTS: Final = ROOT / "benchmarks" / "requirements.txt"
DIRECTORY: Final = ROOT / ".venv-benchmarks"


def prepared(requirements: Path = REQUIREMENTS, directory: Path = DIRECTORY) -> str:
    """Return the environment's Python, after installing what has changed since the last time."""
    python = directory / "bin" / "python"
    installed = directory / "requirements.txt"
    wanted = f"# {sys.version}\n{requirements.read_text()}"
    if not installed.exists() or installed.read_text() != wanted:
        print(f"preparing {directory} …", file=sys.stderr, flush=True)
        subprocess.run([sys.executable, "-m", "venv", "--clear", directory], check=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", "--requirement", requirements], check=True)
        installed.write_text(wanted)
    return str(python)
