"""What the tests read from a page: its blocks of code, and its headings."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
README = ROOT / "README.md"
PAGES = sorted((ROOT / "docs").glob("*.md"))

_FENCE = re.compile(r"(?P<indent> *)(?P<fence>`{3,})(?P<info>[^`]*)")
_DIRECTIVE = re.compile(r"\{(?P<name>[\w-]+)\} *(?P<argument>.*)")
_OPTION = re.compile(r":(?P<name>[\w-]+): *(?P<value>.*)")
_HEADING = re.compile(r"(?P<marks>#{1,6}) +(?P<text>.+?) *")


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """A fenced block: `line` is where its text begins, counted from 1; `section` the heading above it."""

    path: Path
    line: int
    language: str
    options: Mapping[str, str]
    section: str
    text: str

    def __str__(self) -> str:
        return f"{self.path.relative_to(ROOT)}:{self.line}"

    @property
    def source(self) -> str:
        """Return the text behind as many empty lines as stand above it, so that tracebacks point into the page."""
        return "\n" * (self.line - 1) + self.text


@dataclass(frozen=True, slots=True, kw_only=True)
class Heading:
    """A heading, and what stands below it until the next one."""

    level: int
    text: str
    body: str


def blocks(path: Path, *languages: str) -> list[Block]:
    """Return the page's blocks, in order; with *languages*, these alone."""
    return [block for block in _blocks(path) if not languages or block.language in languages]


def headings(path: Path, *, below: str = "") -> list[Heading]:
    """Return the page's headings, in order; with *below*, those of the section of that name alone."""
    found: list[Heading] = []
    for start, match in (marks := list(_headings(path))):
        following = [line for line, _ in marks if line > start]
        end = following[0] if following else None
        body = "\n".join(path.read_text().splitlines()[start + 1 : end])
        found.append(Heading(level=len(match["marks"]), text=match["text"], body=body))
    if not below:
        return found
    [first] = [number for number, heading in enumerate(found) if heading.text == below]
    section = found[first + 1 :]
    level = found[first].level
    end = next((number for number, heading in enumerate(section) if heading.level <= level), len(section))
    return section[:end]


def _headings(path: Path) -> Iterator[tuple[int, re.Match[str]]]:
    fence = ""
    for number, line in enumerate(path.read_text().splitlines()):
        if match := _FENCE.fullmatch(line):
            fence = "" if fence == match["fence"] else fence or match["fence"]
        elif not fence and (match := _HEADING.fullmatch(line)):
            yield number, match


def _blocks(path: Path) -> Iterator[Block]:
    lines = path.read_text().splitlines()
    section = ""
    number = 0
    while number < len(lines):
        if match := _HEADING.fullmatch(lines[number]):
            section = match["text"]
        opening = _FENCE.fullmatch(lines[number])
        number += 1
        if opening is None:
            continue
        end = lines.index(opening["indent"] + opening["fence"], number)
        content = [line.removeprefix(opening["indent"]) for line in lines[number:end]]
        language, options = opening["info"].strip(), dict[str, str]()
        if directive := _DIRECTIVE.fullmatch(language):
            named = directive["name"] == "code-block"
            language = directive["argument"] if named else directive["name"]
            while content and (option := _OPTION.fullmatch(content[0])):
                options[option["name"]] = option["value"]
                del content[0]
                number += 1
        yield Block(
            path=path,
            line=number + 1,
            language=language,
            options=options,
            section=section,
            text="\n".join(content) + "\n",
        )
        number = end + 1
