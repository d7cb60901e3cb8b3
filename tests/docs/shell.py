"""Type the commands of a page's transcripts into a shell, and compare what they print."""

import doctest
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.docs.markdown import Block
from tests.gate import TIMEOUT

END = "-- end of the command --"
# What the environment of this process has prepared already.
PREPARED = re.compile(r"python3 -m venv .*|pip install .*")
SERVES = "python manage.py runserver"


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """What is typed, and what is printed then; `...` in it stands for anything."""

    text: str
    output: str


@dataclass(slots=True, kw_only=True)
class Shell:
    """A bash that remembers: directory, variables, functions. Servers get a port of their own in place of 8000."""

    process: subprocess.Popen[str]
    log: Path
    port: int

    def type(self, block: Block) -> None:
        """Run the block's commands; raise AssertionError where they print something else, or fail."""
        for command in commands_of(block):
            if not PREPARED.fullmatch(command.text):
                self.run(command, str(block))

    def run(self, command: Command, place: str) -> None:
        """Run one command."""
        assert not command.text.endswith("\\"), f"{place}: begin the lines that go on with `> `"
        text = command.text.replace(":8000", f":{self.port}")
        serves = text == SERVES
        if serves:
            text = f"{SERVES} --noreload 127.0.0.1:{self.port} >{self.log} 2>&1 &"
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"{{ {text}\n}} </dev/null 2>&1; printf '\\n%s %s\\n' '{END}' $?\n")
        self.process.stdin.flush()
        printed, status = "", None
        for line in self.process.stdout:
            if line.startswith(END):
                status = int(line.removeprefix(END))
                break
            printed += line
        if serves:
            wait_for(self.port)
        printed = printed.replace("\r\n", "\n").removesuffix("\n")
        assert status == 0, f"{place}: {command.text}\n{printed}\n{self.log.read_text()}"
        matches = doctest.OutputChecker().check_output(command.output, f"{printed.rstrip()}\n", doctest.ELLIPSIS)
        assert not command.output or matches, f"{place}: {command.text}\nexpected:\n{command.output}\ngot:\n{printed}"


@contextmanager
def shell(directory: Path, variables: Mapping[str, str], *, log: Path) -> Iterator[Shell]:
    """Yield a shell in *directory*, and end it with all that it started. Servers write to *log*."""
    inherited = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("DJANGO_", "COVERAGE_", "TEST_", "PYTEST_")) and name != "DATABASE_URL"
    }
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    log.touch()
    process = subprocess.Popen(
        ["bash", "--noprofile", "--norc"],
        cwd=directory,
        env={**inherited, **variables, "PATH": path, "PYTHONUNBUFFERED": "1"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdin is not None
    # curl shows a meter where its output is no terminal.
    process.stdin.write('curl() { command curl --silent --noproxy "*" "$@"; }\n')
    try:
        yield Shell(process=process, log=log, port=port)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def commands_of(block: Block) -> list[Command]:
    """Return the block's commands: `$ ` begins one, `> ` goes on with it, and the rest is printed."""
    found: list[Command] = []
    for line in block.text.splitlines():
        if line.startswith("$ "):
            found.append(Command(text=line[2:], output=""))
        elif line.startswith("> "):
            found[-1] = Command(text=f"{found[-1].text}\n{line[2:]}", output="")
        else:
            found[-1] = Command(text=found[-1].text, output=f"{found[-1].output}{line}\n")
    return found


def wait_for(port: int) -> None:
    """Return once somebody listens at *port*, or raise TimeoutError."""
    deadline = time.monotonic() + TIMEOUT
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            if time.monotonic() > deadline:
                raise TimeoutError(f"nobody listens at {port}") from None
            time.sleep(0.05)
        else:
            return
