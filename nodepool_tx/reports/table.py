"""Tables of plain text, framed the way Nodepool's users know them."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Sequence
from typing import Any

__all__ = ["Painter", "cell", "printable", "render_table"]

#: Row and column (from 0) and text of a cell: the text with marks that take no
#: place on the screen.
Painter = Callable[[int, int, str], str]


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


def render_table(
    headers: Sequence[str], rows: Sequence[Sequence[Any]], painter: Painter | None = None
) -> str:
    """A framed table, left aligned, without a line break at the end.

    :param painter: colours cells of the rows; widths are those of the text.
    """
    texts = [[cell(value) for value in row] for row in rows]
    widths = [max(map(_width, column)) for column in zip(headers, *texts, strict=True)]
    rule = "+" + "+".join("-" * (width + 2) for width in widths) + "+"

    def line(cells: Sequence[str], row: int | None = None) -> str:
        padded = (
            f" {_painted(painter, row, column, text)}{' ' * (width - _width(text))} "
            for column, (text, width) in enumerate(zip(cells, widths, strict=True))
        )
        return "|" + "|".join(padded) + "|"

    body = [line(row, number) for number, row in enumerate(texts)]
    return "\n".join([rule, line(headers), rule, *body, *([rule] if body else [])])


def _painted(painter: Painter | None, row: int | None, column: int, text: str) -> str:
    return text if painter is None or row is None else painter(row, column, text)
