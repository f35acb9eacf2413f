"""Draws what a terminal showed, for ``docs/images/demo.svg``.

``bin/demo | sed '/^setup/d; /^The node is back/,$d' | python -m demo.picture``
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator
from xml.sax.saxutils import escape

WIDTH, HEIGHT, MARGIN, BAR = 7.8, 18, 16, 28

#: What is drawn how: the first pattern that matches a piece of a line.
STYLES = (
    (re.compile(r"^\$ .*"), "command"),
    (re.compile(r"^[+|][-+]+$|\|"), "frame"),
    (re.compile(r"\bin-use\b|(?<=\| )locked\b"), "busy"),
    (re.compile(r"(?<=\| )ready\b"), "free"),
    (re.compile(r"^(ready after|gave back|running on node|request \d).*"), "note"),
)
SHEET = """\
text { font: 13px ui-monospace, Menlo, Consolas, "DejaVu Sans Mono", monospace; fill: #d8dee9;
  white-space: pre }
.command { fill: #88c0d0; font-weight: bold } .frame { fill: #5c6a82 }
.busy { fill: #ebcb8b } .free { fill: #a3be8c } .note { fill: #b9a0cf }"""


def pieces(line: str) -> Iterator[tuple[str, str]]:
    """A line in parts, each with its style; the empty style is plain text."""
    at = 0
    while at < len(line):
        found = [(m.start(), m, style) for p, style in STYLES if (m := p.search(line, at))]
        if not found:
            break
        start, match, style = min(found, key=lambda one: one[0])
        if start > at:
            yield line[at:start], ""
        yield match.group(), style
        at = match.end()
    if at < len(line):
        yield line[at:], ""


def draw(lines: Iterable[str]) -> str:
    """The picture, as SVG."""
    lines = [line.rstrip("\n") for line in lines]
    width = MARGIN * 2 + WIDTH * max(map(len, lines))
    height = BAR + MARGIN + HEIGHT * len(lines)
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" '
        f'width="{width:.0f}" height="{height:.0f}" role="img" aria-label="bin/demo at work">',
        f"<style>{SHEET}</style>",
        f'<rect width="{width:.0f}" height="{height:.0f}" rx="8" fill="#232831"/>',
        *(
            f'<circle cx="{18 + 18 * number}" cy="15" r="5.5" fill="{colour}"/>'
            for number, colour in enumerate(("#bf616a", "#ebcb8b", "#a3be8c"))
        ),
    ]
    for number, line in enumerate(lines):
        if not line:
            continue
        spans = "".join(
            f'<tspan class="{style}">{escape(text)}</tspan>' if style else escape(text)
            for text, style in pieces(line)
        )
        # Exact lengths keep columns straight whatever font there is.
        y, length = BAR + MARGIN + HEIGHT * number, WIDTH * len(line)
        out.append(
            f'<text xml:space="preserve" x="{MARGIN}" y="{y}" textLength="{length:.1f}">'
            f"{spans}</text>"
        )
    return "\n".join([*out, "</svg>"])


if __name__ == "__main__":
    print(draw(sys.stdin))
