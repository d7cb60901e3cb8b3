"""The quickstart, and the transcripts of other pages, typed into a shell from top to bottom."""

from collections.abc import Callable, Iterator
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


def follow(typist: Shell, path: Path, root: Path) -> None:
    """Do what the page says, from top to bottom: type its commands, and write its files.

    Of other pages than the quickstart, it is the files in `shop/` that are the project's.
    """
    for block in blocks(path, "console", "python"):
        name, _, place = block.options.get("caption", "").partition(", ")
        if block.language == "console":
            typist.type(block)
        elif name.startswith("shop/") or path == QUICKSTART:
            file = root / name
            assert file.exists() or not place, f"{block}: {name}"
            with file.open("a" if place == "at its end" else "w") as source:
                source.write(block.text)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[Path], None]]:
    """Follow the quickstart, and yield what follows other pages in its project."""
    directory = tmp_path_factory.mktemp("quickstart")
    with shell(directory, {}, log=directory / "server.log") as typist:
        follow(typist, QUICKSTART, directory / "shop")
        yield lambda path: follow(typist, path, directory / "shop")


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
        "path",
        [path for path in PAGES if path != QUICKSTART and blocks(path, "console")],
        ids=lambda path: path.name,
    )
    def test_commands_print_what_is_shown(self, path, project):
        project(path)

    def test_other_pages_with_transcripts_are_named(self):
        paths: list[Path] = [README, ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md"]

        assert {path.name for path in paths if blocks(path, "console")} == NOT_HERE
