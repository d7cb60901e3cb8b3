"""All code on all pages: it runs, or it is named here with the reason why not."""

import json

import pytest

from tests.docs.markdown import PAGES, README, ROOT, blocks
from tests.docs.runner import problems_of

# Typed into a shell instead, as a whole: see test_quickstart.py.
QUICKSTART = ROOT / "docs" / "quickstart.md"
RUN = [README, ROOT / "CONTRIBUTING.md", *(page for page in PAGES if page != QUICKSTART)]
LANGUAGES = {
    "python",
    "pycon",
    "console",
    "bash",
    "javascript",
    "json",
    "http",
    "sql",
    "text",
    "sequence",
    "toctree",
    "image",
}


def identify(path):
    return path.name


class TestBlocks:
    @pytest.mark.parametrize("path", RUN, ids=identify)
    def test_code_runs(self, path, run):
        run(path)

    @pytest.mark.parametrize("path", RUN, ids=identify)
    def test_settings_pass_the_checks(self, path, run):
        names = run(path)

        assert problems_of(names) == []

    @pytest.mark.parametrize("path", [*RUN, QUICKSTART], ids=identify)
    def test_languages_are_ones_that_are_tested(self, path):
        assert {block.language for block in blocks(path)} <= LANGUAGES | {"include"}

    @pytest.mark.parametrize("block", [block for path in PAGES for block in blocks(path, "json")], ids=str)
    def test_json_can_be_read(self, block):
        json.loads(block.text)
