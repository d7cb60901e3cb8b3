"""`manage.py demo`, as it is typed: what it prints, what it serves, and how it ends."""

import re
import shlex
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from os import environ
from pathlib import Path

import httpx
import pytest

from tests.gate import TIMEOUT
from tests.server import ROOT

CHARGES = 30
SERVING = "Serving. Ctrl-C ends."
TABLE_ROW = re.compile(r"^  (\S.*?) {2,}(\S+) +(\S+)$", re.MULTILINE)

# It has a database of its own; with the others, CI runs it to its end.
pytestmark = pytest.mark.engine("sqlite")


@contextmanager
def demo(
    directory: Path, *arguments: str, settings: str = "example_project.settings"
) -> Iterator[subprocess.Popen[str]]:
    """Run `manage.py demo` while the block runs."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    process = subprocess.Popen(
        [sys.executable, "manage.py", "demo", f"--charges={CHARGES}", "--workers=2", f"--port={port}", *arguments],
        cwd=ROOT,
        env={
            **environ,
            "DATABASE_URL": f"sqlite:///{directory}/db.sqlite3",
            "DJANGO_SETTINGS_MODULE": settings,
            "PYTHONUNBUFFERED": "1",
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        yield process
    finally:
        process.terminate()
        process.communicate()


def table(printed: str) -> dict[str, tuple[str, str]]:
    """Return the table's cells without keys and with keys, by the names of the rows."""
    return {name: (without, with_keys) for name, without, with_keys in TABLE_ROW.findall(printed)}


def from_curl(printed: str) -> tuple[str, dict[str, str], str]:
    """Return the address, headers and body of the request that the demo invites to send."""
    words = shlex.split(printed.partition("Try this twice\n")[2].partition("\n\n")[0].replace("\\\n", ""))
    options: Sequence[tuple[str, str]] = list(zip(words[3::2], words[4::2], strict=True))
    headers = dict(value.split(": ", 1) for name, value in options if name == "-H")
    [body] = [value for name, value in options if name == "-d"]
    return words[2], headers, body


class TestDemo:
    def test_charges_once_with_keys_and_goes_on_serving(self, tmp_path):
        with demo(tmp_path) as process:
            assert process.stdout is not None
            lines = []
            for line in process.stdout:
                lines.append(line)
                if SERVING in line:
                    break
            printed = "".join(lines)
            assert SERVING in printed, printed
            addresses = re.findall(r"^  (http\S+)", printed, re.MULTILINE)
            address, headers, body = from_curl(printed)
            with httpx.Client(timeout=TIMEOUT, trust_env=False, follow_redirects=True) as client:
                pages = {url: client.get(url).status_code for url in addresses}
                answers = [client.post(address, headers=headers, content=body) for _ in range(2)]
            process.send_signal(signal.SIGINT)
            rest = process.stdout.read()
            status = process.wait(TIMEOUT)

        rows = table(printed)
        assert all(f"{label:<14} {CHARGES}/{CHARGES} purchases" in printed for label in ("without keys", "with keys"))
        assert len(re.findall(r"\d/30 purchases", printed)) >= 10
        assert rows["purchases made by customers"] == ("30", "30")
        assert rows["server processes killed in a charge"] == ("1", "1")
        assert all(int(requests) > CHARGES for requests in rows["requests sent"])
        assert all(int(lost) > 0 for lost in rows["answers lost"])
        assert int(rows["charged twice or more"][0]) > 0
        assert [rows[name][1] for name in ("charges made", "charged twice or more", "missing")] == ["30", "0", "0"]
        assert "With keys, every purchase was charged exactly once." in printed
        assert any(url.endswith("/admin/") for url in pages)
        # Who is not signed in sees no more of the API than that.
        assert set(pages.values()) <= {200, 401}
        assert [answer.status_code for answer in answers] == [201, 201]
        assert answers[1].headers["Idempotent-Replayed"] == "true"
        assert (status, rest.strip()) == (0, "Ended.")

    def test_exit_has_status_1_where_a_charge_ran_twice(self, tmp_path):
        with demo(tmp_path, "--exit", settings="tests.demo.unguarded_settings") as process:
            printed, _ = process.communicate(timeout=5 * TIMEOUT)

        assert process.returncode == 1
        assert "With keys, something went wrong" in printed
        assert int(table(printed)["charged twice or more"][1]) > 0
