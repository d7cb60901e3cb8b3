"""The quickstart, and the transcripts of other pages, typed into a shell from top to bottom."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docs.markdown import PAGES, README, ROOT, blocks
from tests.docs.shell import Shell, shell

QUICKSTART = ROOT / "docs" / "quickstart.md"
# Transcripts that are not typed in the quickstart's project: README's needs the example's server (test_readme.py),
# CONTRIBUTING's runs the tests.
NOT_HERE = {"README.md", "CONTRIBUTING.md"}

# It makes a project on SQLite, whatever the engine under test.
pytestmark = pytest.mark.engine("sqlite")


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    """Follow the quickstart, and yield the shell that it ends with."""
    directory = tmp_path_factory.mktemp("quickstart")
    with shell(directory, {}, log=directory / "server.log") as typist:
        for block in blocks(QUICKSTART, "console", "python"):
            if block.language == "console":
                typist.type(block)
            else:
                name, _, place = block.options["caption"].partition(", ")
                file = directory / "shop" / name
                assert file.exists() or not place, f"{block}: {name}"
                with file.open("a" if place == "at its end" else "w") as source:
                    source.write(block.text)
        yield typist


class TestQuickstart:
    def test_leads_to_what_it_shows(self, project):
        """All its commands have succeeded, and printed what the page says."""

    def test_shows_a_first_request_a_replay_and_both_refusals(self):
        text = "".join(block.text for block in blocks(QUICKSTART, "console"))

        assert text.count("201 Created") == 2
        assert text.count("Idempotent-Replayed: true") == 1
        assert "400 Bad Request" in text
        assert "409 Conflict" in text


class TestTranscripts:
    @pytest.mark.parametrize(
        "block",
        [block for path in PAGES if path != QUICKSTART for block in blocks(path, "console")],
        ids=str,
    )
    def test_commands_print_what_is_shown(self, block, project):
        project.type(block)

    def test_other_pages_with_transcripts_are_named(self):
        paths: list[Path] = [README, ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md"]

        assert {path.name for path in paths if blocks(path, "console")} == NOT_HERE
