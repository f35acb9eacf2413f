"""Tables of plain text, framed the way Nodepool's users know them."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from typing import Any

__all__ = ["cell", "printable", "render_table"]


def printable(text: str) -> str:
    """``text`` with everything that would steer a terminal spelled out."""
    if text.isprintable():
        return text
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode() for char in text
    )


def cell(value: Any) -> str:
    """One value as text: nothing for None, lists with commas."""
    if value is None:
        return ""
    if isinstance(value, (list, tuple)):
        return ",".join(cell(item) for item in value)
    return printable(str(value))


def _width(text: str) -> int:
    """Columns on a terminal: East Asian wide characters take two, accents none."""
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.combining(char) else 2 if unicodedata.east_asian_width(char) in "WF" else 1
        for char in text
    )


def render_table(headers: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """A framed table, left aligned, without a line break at the end."""
    texts = [[cell(value) for value in row] for row in rows]
    widths = [max(map(_width, column)) for column in zip(headers, *texts, strict=True)]
    rule = "+" + "+".join("-" * (width + 2) for width in widths) + "+"

    def line(cells: Sequence[str]) -> str:
        padded = (
            f" {text}{' ' * (width - _width(text))} "
            for text, width in zip(cells, widths, strict=True)
        )
        return "|" + "|".join(padded) + "|"

    body = [line(row) for row in texts]
    return "\n".join([rule, line(headers), rule, *body, *([rule] if body else [])])
