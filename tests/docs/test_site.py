"""The site, as it is built: without a warning, without another host, and with every link leading somewhere."""

import json
import re
import subprocess
import sys
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from django_idempotency.conf import settings
from django_idempotency.exceptions import RequestInProgress
from django_idempotency.responses import problem_response
from tests.docs.markdown import PAGES, ROOT, blocks, headings

pytestmark = [pytest.mark.tool("sphinx"), pytest.mark.engine("sqlite")]

# What a browser loads by itself, and the attribute that says from where.
LOADED = {
    "audio": "src",
    "embed": "src",
    "iframe": "src",
    "image": "href",
    "img": "src",
    "link": "href",
    "object": "data",
    "script": "src",
    "source": "src",
    "use": "href",
    "video": "src",
}
URL_IN_STYLE = re.compile(r"""url\(\s*["']?([^"')]+)|@import\s+["']([^"']+)""")


@dataclass(slots=True)
class Page(HTMLParser):
    """What a built page loads, where it leads, and the anchors that it has."""

    path: Path
    loaded: list[str] = field(default_factory=list)
    links: list[str] = field(default_factory=list)
    anchors: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        HTMLParser.__init__(self)
        self.feed(self.path.read_text())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        if "id" in values:
            self.anchors.add(values["id"])
        if tag == "a" and "href" in values:
            self.links.append(values["href"])
        if address := values.get(LOADED.get(tag, "")):
            self.loaded.append(address)
        self.loaded += addresses_in(values.get("style", ""))


def addresses_in(style: str) -> list[str]:
    return [url or imported for url, imported in URL_IN_STYLE.findall(style)]


def is_elsewhere(address: str) -> bool:
    return bool(urlsplit(address).netloc)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the site, each warning being an error, and return its directory."""
    directory = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "sphinx", "-W", "-n", "--keep-going", "-q", str(ROOT / "docs"), str(directory)]
    built = subprocess.run(command, check=False, capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    return directory


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[str, Page]:
    """Return the built pages by their names."""
    return {path.name: Page(path) for path in site.glob("*.html")}


class TestSite:
    def test_has_every_page(self, pages):
        assert {page.with_suffix(".html").name for page in PAGES} <= set(pages)

    def test_pages_load_nothing_from_another_host(self, pages):
        elsewhere = {name: [url for url in page.loaded if is_elsewhere(url)] for name, page in pages.items()}

        assert {name: urls for name, urls in elsewhere.items() if urls} == {}

    def test_styles_load_nothing_from_another_host(self, site):
        styles = {path: addresses_in(path.read_text()) for path in site.rglob("*.css")}

        assert styles
        assert [url for urls in styles.values() for url in urls if is_elsewhere(url)] == []

    def test_what_pages_load_is_there(self, pages, site):
        loaded = {urlsplit(url).path for page in pages.values() for url in page.loaded if not url.startswith("data:")}

        assert [url for url in loaded if not (site / unquote(url)).exists()] == []

    def test_links_lead_somewhere(self, pages):
        broken = []
        for name, page in pages.items():
            for link in page.links:
                parts = urlsplit(link)
                if parts.scheme or parts.netloc:
                    continue
                target = pages.get(parts.path or name)
                if target is None or (parts.fragment and unquote(parts.fragment) not in target.anchors):
                    broken.append((name, link))

        assert broken == []

    def test_readme_and_others_lead_somewhere(self):
        for name in ("README.md", "SECURITY.md", "CONTRIBUTING.md"):
            text = (ROOT / name).read_text()
            for target in re.findall(r"\]\((?!https?://|#)([^)#]+)", text):
                assert (ROOT / target).exists(), f"{name}: {target}"


class TestErrorPage:
    def test_problem_types_lead_to_a_section(self, pages):
        assert urlsplit(settings.documentation_url).path.rpartition("/")[2] == "errors.html"
        for heading in headings(ROOT / "docs" / "errors.md", below="Codes"):
            assert heading.text in pages["errors.html"].anchors

    def test_problem_that_is_shown_is_one(self):
        [block] = blocks(ROOT / "docs" / "errors.md", "json")

        assert json.loads(block.text) == json.loads(problem_response(RequestInProgress()).content)


class TestDiagrams:
    def test_each_is_drawn_for_both_widths(self, site):
        for page in PAGES:
            drawings = (site / page.with_suffix(".html").name).read_text()

            expected = len(blocks(page, "sequence"))
            assert drawings.count('class="sequence-wide"') == expected
            assert drawings.count('class="sequence-narrow"') == expected

    def test_there_is_one_for_each_scenario(self):
        scenarios = ROOT / "docs" / "scenarios.md"
        sections = [block.section for block in blocks(scenarios, "sequence")]

        assert sections == [
            "First request",
            "Retry",
            "Concurrent duplicate",
            "Crash",
            "Other parameters",
            "Expiry",
        ]

    def test_text_stays_inside(self, site):
        sys.path.insert(0, str(ROOT / "docs" / "_ext"))
        try:
            from sequence import width_of  # type: ignore[import-not-found]  # docs/_ext is on Sphinx's path alone
        finally:
            sys.path.pop(0)
        for path in site.glob("*.html"):
            for width, drawing in re.findall(
                r'viewBox="0 0 (\d+) [\d.]+" role="img".*?>(.*?)</svg>', path.read_text(), re.DOTALL
            ):
                for style, x, text in re.findall(
                    r'<text class="([\w -]+)" x="([\d.]+)" y="[\d.]+">(.*?)</text>', drawing
                ):
                    half = width_of(text) / 2
                    start, end = (
                        (float(x), float(x) + 2 * half) if "frame" in style else (float(x) - half, float(x) + half)
                    )
                    assert start >= 0, (path.name, text)
                    assert end <= float(width), (path.name, text)
