"""The checkout's commands, typed into a shell: the shop and its bank are served as the page says."""

import socket
from dataclasses import replace

import pytest

from tests.docs.markdown import ROOT, blocks
from tests.docs.shell import Command, shell, wait_for

PAGE = ROOT / "docs" / "checkout.md"
SECTION = "Run both"
# What each block prints among the servers' own lines; the first ones only serve.
PRINTED = (
    "",
    "",
    '...HTTP/1.1 201 Created...{"id":1,"reference":"order-1",...}...',
    '...{"charges": [{"id": 1, ..."reference": "order-1", "amount": "4.20", "refunded": false}]}...1 sent....',
    "...0 ended, 0 unfinished, ...",
)


class TestTranscript:
    @pytest.mark.engine("sqlite")  # The example's own databases, whatever the engine under test.
    def test_buys_once(self, tmp_path):
        with socket.create_server(("127.0.0.1", 0)) as free:
            bank = str(free.getsockname()[1])
        variables = {
            "DATABASE_URL": f"sqlite:///{tmp_path / 'shop.sqlite3'}",
            "BANK_DATABASE_URL": f"sqlite:///{tmp_path / 'bank.sqlite3'}",
            "BANK_URL": f"http://127.0.0.1:{bank}",
        }
        commands = [
            Command(text=block.text.rstrip(), output=output and f"{output}\n")
            for block, output in zip(section(), PRINTED, strict=True)
        ]
        again = replace(commands[2], output="...HTTP/1.1 201 Created...Idempotent-Replayed: true...\n")

        with shell(ROOT, variables, log=tmp_path / "server.log") as typist:
            for command in [*commands[:3], again, *commands[3:]]:
                if command.output:
                    wait_for(int(bank))
                    wait_for(typist.port)
                text = command.text.replace("8100", bank).replace("runserver 8000", f"runserver {typist.port}")
                typist.run(replace(command, text=text), PAGE.name)


def section():
    """Return the blocks that are typed, from top to bottom."""
    return [block for block in blocks(PAGE, "bash") if block.section == SECTION]
