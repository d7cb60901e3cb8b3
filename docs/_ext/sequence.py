"""Draw sequence diagrams from text, as SVG inside the page: no program, no script and no network.

    ```{sequence} What the diagram shows
    Client | Server | Database
    Client -> Server: a request
    Server: what it does by itself
    [ One transaction
    Server -> Database: INSERT
    ]
    Server x: how it dies
    == a day later ==
    Server --> Client: an answer
    Server --x Client: an answer that is lost
    ```

Colours are those of the theme, light or dark. Each diagram is drawn twice, wide and narrow; the style sheet
shows the one that fits.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Any, ClassVar

from docutils import nodes
from docutils.parsers.rst import Directive
from sphinx.application import Sphinx

LINE_HEIGHT = 16
FONT_SIZE = 12.5
# Shares of the font's size, on the safe side of what system fonts have.
NARROW_LETTERS = frozenset("fijlrtI.,:;'|()[]/-! ")
WIDE_LETTERS = frozenset("mwMW@—")

ARROW = re.compile(r"(?P<source>[^:]+?) (?P<line>-|--)(?P<head>[>x]) (?P<target>[^:]+?): (?P<text>.+)")
DEATH = re.compile(r"(?P<lane>[^:]+?) x: (?P<text>.+)")
NOTE = re.compile(r"(?P<lane>[^:]+?): (?P<text>.+)")
PAUSE = re.compile(r"== (?P<text>.+) ==")
OPENING = re.compile(r"\[ (?P<text>.+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One line of the text: its kind, and what it says."""

    kind: str
    text: str = ""
    lane: str = ""
    target: str = ""
    dashed: bool = False
    lost: bool = False


def parse(lines: Sequence[str]) -> tuple[list[str], list[Step]]:
    """Return the names of the lanes, and the steps.

    Raises:
        ValueError: A line is none of those above, or names a lane that is not there.
    """
    lanes = [name.strip() for name in lines[0].split("|")]
    steps = [parse_step(line.strip()) for line in lines[1:] if line.strip()]
    for step in steps:
        if unknown := {step.lane, step.target} - {*lanes, ""}:
            raise ValueError(f"unknown lane: {', '.join(sorted(unknown))}")
    if [step.kind for step in steps].count("open") != [step.kind for step in steps].count("close"):
        raise ValueError("a frame is not closed")
    return lanes, steps


def parse_step(line: str) -> Step:
    """Return the step that *line* tells of."""
    if line == "]":
        return Step(kind="close")
    if match := OPENING.fullmatch(line):
        return Step(kind="open", text=match["text"])
    if match := PAUSE.fullmatch(line):
        return Step(kind="pause", text=match["text"])
    if match := ARROW.fullmatch(line):
        return Step(
            kind="arrow",
            lane=match["source"],
            target=match["target"],
            text=match["text"],
            dashed=match["line"] == "--",
            lost=match["head"] == "x",
        )
    if match := DEATH.fullmatch(line):
        return Step(kind="death", lane=match["lane"], text=match["text"])
    if match := NOTE.fullmatch(line):
        return Step(kind="note", lane=match["lane"], text=match["text"])
    raise ValueError(f"not understood: {line}")


def width_of(text: str) -> float:
    """Return about how many pixels *text* takes, rather more than fewer."""
    shares = (0.32 if letter in NARROW_LETTERS else 0.88 if letter in WIDE_LETTERS else 0.58 for letter in text)
    return FONT_SIZE * sum(shares)


def wrap(text: str, width: float) -> list[str]:
    """Break *text* between words, so that each line fits *width*."""
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if lines[-1] and width_of(longer) > width:
            lines.append(word)
        else:
            lines[-1] = longer
    return lines


@dataclass(slots=True, kw_only=True)
class Drawing:
    """One diagram at one width. `y` is where the next step begins."""

    lanes: Sequence[str]
    steps: Sequence[Step]
    title: str
    width: int
    y: float = 58
    parts: list[str] = field(default_factory=list)
    frames: list[tuple[float, str]] = field(default_factory=list)
    behind: list[str] = field(default_factory=list)

    @property
    def gap(self) -> float:
        """The distance between two lanes."""
        return self.width / len(self.lanes)

    def x(self, lane: str) -> float:
        """Return where *lane* stands."""
        return self.gap * (self.lanes.index(lane) + 0.5)

    def render(self, variant: str) -> str:
        """Return the SVG element."""
        for step in self.steps:
            getattr(self, f"draw_{step.kind}")(step)
        bottom = self.y + 6
        label = f'aria-label="{escape(describe(self.title, self.steps))}" xmlns="http://www.w3.org/2000/svg"'
        heads = [part for lane in self.lanes for part in self.head(lane, bottom)]
        return "\n".join(
            [
                f'<svg class="sequence-{variant}" viewBox="0 0 {self.width} {bottom:g}" role="img" {label}>',
                *self.behind,
                *heads,
                *self.parts,
                "</svg>",
            ]
        )

    def head(self, lane: str, bottom: float) -> Iterator[str]:
        """Draw the lane's line, and its name in a box above."""
        x, width = self.x(lane), width_of(lane) + 22
        yield f'<line class="life" x1="{x:g}" y1="32" x2="{x:g}" y2="{bottom:g}"/>'
        yield f'<rect class="head" x="{x - width / 2:g}" y="4" width="{width:g}" height="28" rx="5"/>'
        yield self.text(x, 23, lane, "name")

    def text(self, x: float, y: float, text: str, style: str = "label") -> str:
        """Write one line, centred on *x*."""
        return f'<text class="{style}" x="{x:g}" y="{y:g}">{escape(text)}</text>'

    def draw_arrow(self, step: Step) -> None:
        """Draw an arrow below its text; one that is lost ends half-way."""
        start, end = self.x(step.lane), self.x(step.target)
        direction = 1 if end > start else -1
        if step.lost:
            end = start + (end - start) * 0.72
        middle, room = (start + end) / 2, abs(end - start) - 12
        lines = wrap(step.text, room)
        for number, line in enumerate(lines):
            self.label(middle, self.y + 12 + number * LINE_HEIGHT, line)
        y = self.y + len(lines) * LINE_HEIGHT + 3
        style = "arrow dashed" if step.dashed else "arrow"
        if step.lost:
            self.parts.append(self.cross(end, y))
            end -= direction * 7
        else:
            end -= direction
            points = f"{end:g},{y:g} {end - direction * 9:g},{y - 4.5:g} {end - direction * 9:g},{y + 4.5:g}"
            self.parts.append(f'<polygon class="point" points="{points}"/>')
            end -= direction * 8
        self.parts.append(f'<line class="{style}" x1="{start:g}" y1="{y:g}" x2="{end:g}" y2="{y:g}"/>')
        self.y = y + 13

    def label(self, x: float, y: float, text: str) -> None:
        """Write on a ground that hides the line of a lane in between."""
        width = width_of(text)
        ground = f'<rect class="ground" x="{x - width / 2:g}" y="{y - 11:g}" width="{width:g}" height="14"/>'
        crosses = any(abs(self.x(lane) - x) < width / 2 for lane in self.lanes)
        self.parts += [ground] * crosses + [self.text(x, y, text)]

    def draw_note(self, step: Step, style: str = "note") -> None:
        """Draw a box on a lane."""
        widest = min(self.gap * 1.5, 230)
        lines = wrap(step.text, widest - 14)
        width = max(width_of(line) for line in lines) + 14
        left = min(max(self.x(step.lane) - width / 2, 4), self.width - width - 4)
        height = len(lines) * LINE_HEIGHT + 9
        self.parts.append(
            f'<rect class="{style}" x="{left:g}" y="{self.y:g}" width="{width:g}" height="{height:g}" rx="4"/>'
        )
        for number, line in enumerate(lines):
            self.parts.append(self.text(left + width / 2, self.y + 16 + number * LINE_HEIGHT, line))
        self.y += height + 11

    def draw_death(self, step: Step) -> None:
        """Draw how a lane ends, and a cross below."""
        self.draw_note(step, "death")
        self.parts.append(self.cross(self.x(step.lane), self.y))
        self.y += 17

    def draw_pause(self, step: Step) -> None:
        """Draw that time passes."""
        y, width = self.y + 11, width_of(step.text) + 20
        self.parts += [
            f'<line class="pause" x1="4" y1="{y:g}" x2="{self.width - 4:g}" y2="{y:g}"/>',
            f'<rect class="ground" x="{(self.width - width) / 2:g}" y="{y - 10:g}" width="{width:g}" height="20"/>',
            self.text(self.width / 2, y + 4.5, step.text, "label pause-text"),
        ]
        self.y += 34

    def draw_open(self, step: Step) -> None:
        """Begin a frame."""
        self.frames.append((self.y, step.text))
        self.y += 26

    def draw_close(self, step: Step) -> None:
        """End the frame that was begun last; it covers all lanes but the first."""
        top, text = self.frames.pop()
        left = self.gap * 0.5 + 14 if len(self.lanes) > 2 else 4
        self.behind.append(
            f'<rect class="frame" x="{left:g}" y="{top:g}" width="{self.width - left - 4:g}" '
            f'height="{self.y - top:g}" rx="6"/>'
        )
        self.parts += [
            f'<rect class="ground" x="{left + 6:g}" y="{top + 4:g}" width="{width_of(text) * 1.05:g}" height="16"/>',
            f'<text class="label frame-text" x="{left + 8:g}" y="{top + 16:g}">{escape(text)}</text>',
        ]
        self.y += 11

    def cross(self, x: float, y: float) -> str:
        """Return a cross."""
        return f'<path class="cross" d="M{x - 5:g} {y - 5:g}l10 10m0 -10l-10 10"/>'


def describe(title: str, steps: Sequence[Step]) -> str:
    """Say in words what the diagram shows, for those who do not see it."""
    words = {
        "arrow": lambda step: f"{step.lane} to {step.target}: {step.text}{' (lost)' if step.lost else ''}",
        "note": lambda step: f"{step.lane}: {step.text}",
        "death": lambda step: f"{step.lane} ends: {step.text}",
        "pause": lambda step: step.text,
        "open": lambda step: f"{step.text} begins",
        "close": lambda step: "It ends",
    }
    return f"{title}. {'; '.join(words[step.kind](step) for step in steps)}."


class SequenceNode(nodes.General, nodes.Element):
    """A diagram, drawn."""


class SequenceDirective(Directive):
    """The directive `sequence`: its argument is the title, its content the text."""

    has_content = True
    required_arguments = 1
    final_argument_whitespace = True
    option_spec: ClassVar[dict[str, Any]] = {}

    def run(self) -> list[nodes.Node]:
        title = self.arguments[0]
        try:
            lanes, steps = parse(list(self.content))
        except (ValueError, IndexError) as error:
            raise self.error(f"sequence diagram {title!r}: {error}") from error
        node = SequenceNode(
            title=title,
            text="\n".join(self.content),
            wide=Drawing(lanes=lanes, steps=steps, title=title, width=680).render("wide"),
            narrow=Drawing(lanes=lanes, steps=steps, title=title, width=344).render("narrow"),
        )
        return [node]


def visit_html(translator: Any, node: SequenceNode) -> None:
    translator.body.append(
        f'<figure class="sequence">\n{node["wide"]}\n{node["narrow"]}\n'
        f"<figcaption>{escape(node['title'])}</figcaption></figure>\n"
    )
    raise nodes.SkipNode


def visit_other(translator: Any, node: SequenceNode) -> None:
    block = nodes.literal_block(node["text"], node["text"])
    block.walkabout(translator)
    raise nodes.SkipNode


def setup(app: Sphinx) -> dict[str, Any]:
    app.add_directive("sequence", SequenceDirective)
    others = dict.fromkeys(("latex", "text", "man", "texinfo"), (visit_other, None))
    app.add_node(SequenceNode, html=(visit_html, None), **others)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
