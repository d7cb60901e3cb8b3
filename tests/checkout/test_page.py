"""The commands of the documentation's page, in a shell, with a bank and a shop of their own."""

import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.markdown import blocks
from tests.gate import TIMEOUT
from tests.server import ROOT

# It is one page for all engines; what they do differently is tested elsewhere.
pytestmark = pytest.mark.engine("sqlite")


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def test_commands_of_the_page_buy_one_mug(tmp_path):
    bank, shop = free_port(), free_port()
    texts = [block.text for block in blocks(ROOT / "docs" / "checkout.md", "bash")]
    commands = "\n".join(text for text in texts if "-m tests" not in text)
    script = commands.replace("8100", str(bank)).replace("8000", str(shop)).replace("curl ", 'curl -sS --noproxy "*" ')
    environment = {
        **os.environ,
        "DATABASE_URL": f"sqlite:///{tmp_path}/shop.sqlite3",
        "BANK_DATABASE_URL": f"sqlite:///{tmp_path}/bank.sqlite3",
        "BANK_URL": f"http://127.0.0.1:{bank}",
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    }
    for name in ("DJANGO_SETTINGS_MODULE", "TEST_DATABASES"):
        environment.pop(name, None)
    log = tmp_path / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            ["bash", "-euo", "pipefail", "-c", script],
            cwd=ROOT,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
        try:
            status = process.wait(timeout=6 * TIMEOUT)
        finally:
            os.killpg(process.pid, signal.SIGKILL)
    printed = log.read_text()

    assert status == 0, printed
    assert "201 Created" in printed, printed
    assert len(re.findall(r'"reference": "order-1"', printed)) == 1, printed
    assert "1 sent." in printed, printed
    assert "0 ended" in printed, printed
