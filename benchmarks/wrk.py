"""Load, from Debian's wrk."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Final

SCRIPT: Final = Path(__file__).with_name("payments.lua")


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What came back: seconds, and how many answers were 4xx or 5xx, or never came."""

    requests: int
    seconds: float
    refused: int
    failed: int
    p50: float
    p99: float

    @property
    def per_second(self) -> float:
        return self.requests / self.seconds


def fresh_prefix() -> str:
    """Return the first eight digits of keys that nobody has sent."""
    return uuid.uuid4().hex[:8]


def key_of(prefix: str, number: int) -> str:
    """Return a key as the script spells it."""
    return f"{prefix}-0000-4000-8000-{number:012x}"


def load(
    url: str, *, seconds: float, connections: int, prefix: str, keys: int = 0, repeats: int = 1, threads: int = 2
) -> Load:
    """Send payments for as long, each under a new key, or under the same *keys* over and over.

    With *repeats*, as many requests in a row have the same key.
    """
    wrk = shutil.which("wrk")
    if wrk is None:
        raise RuntimeError("wrk is missing: apt-get install wrk")
    options = [f"-t{threads}", f"-c{connections}", f"-d{seconds}s", "--timeout=30s", "-s", SCRIPT]
    arguments = [prefix, str(keys), str(repeats)]
    run = subprocess.run([wrk, *options, url, "--", *arguments], capture_output=True, text=True, check=True)
    # The server ends what wrk has begun, and did not wait for.
    time.sleep(0.2)
    return Load(**json.loads(run.stdout.rstrip().rpartition("\n")[2]))
