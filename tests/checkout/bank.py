"""The bank of the example project: a server of its own, on a database of its own."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from tests.databases import another, url_of
from tests.gate import TIMEOUT
from tests.server import ROOT, stop

SETTINGS = "example_project.bank.settings"
TOKEN = "token-of-the-tests"


@dataclass(frozen=True, slots=True, kw_only=True)
class Bank:
    """What the tests know of the bank, and how they speak to it."""

    url: str
    client: httpx.Client

    def post(self, path: str, data: dict[str, Any], *, key: str | None = None) -> httpx.Response:
        """Ask the bank for something, as a shop does."""
        return self.client.post(path, json=data, headers={} if key is None else {"Idempotency-Key": key})

    def charges(self, reference: str | None = None) -> list[dict[str, Any]]:
        """Return what was charged: all of it, or for *reference* alone."""
        response = self.client.get("/charges/", params={} if reference is None else {"reference": reference})
        response.raise_for_status()
        found: list[dict[str, Any]] = response.json()["charges"]
        return found


@contextmanager
def running(directory: Path) -> Iterator[Bank]:
    """Run the bank while the block runs; its log goes to *directory*."""
    with ExitStack() as stack:
        environment = {
            **os.environ,
            "DJANGO_SETTINGS_MODULE": SETTINGS,
            "BANK_DATABASE_URL": url_of(stack.enter_context(another("bank"))),
            "BANK_TOKEN": TOKEN,
        }
        log = stack.enter_context((directory / "bank.log").open("ab"))
        subprocess.run(
            [sys.executable, "manage.py", "migrate"], cwd=ROOT, env=environment, check=True, stdout=log, stderr=log
        )
        with socket.create_server(("127.0.0.1", 0), backlog=256) as listener:
            url = f"http://127.0.0.1:{listener.getsockname()[1]}"
            process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "gunicorn", "example_project.bank.wsgi"),
                    *(f"--bind=fd://{listener.fileno()}", "--worker-class=gthread", "--threads=8", "--keep-alive=0"),
                    *("--graceful-timeout=5", "--no-control-socket"),
                ],
                cwd=ROOT,
                env=environment,
                pass_fds=[listener.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        stack.callback(stop, process)
        client = httpx.Client(
            base_url=url,
            headers={"Authorization": f"Bearer {TOKEN}"},
            limits=httpx.Limits(max_keepalive_connections=0),
            timeout=TIMEOUT,
            trust_env=False,
        )
        yield Bank(url=url, client=stack.enter_context(client))
