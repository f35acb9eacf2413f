"""Tables of plain text, framed the way Nodepool's users know them."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterator, Sequence
from typing import Any

__all__ = ["Painter", "Table", "cell", "columns_of", "printable", "render_table", "spelled_out"]

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


def spelled_out(text: str, end: str = "\n") -> str:
    """Several lines, each :func:`printable`."""
    return end.join(map(printable, text.split(end)))


def cell(value: Any) -> str:
    """One value as text: nothing for None, lists with commas."""
    if value is None:
        return ""
    if isinstance(value, (list, tuple)):
        return ",".join(cell(item) for item in value)
    return printable(str(value))


def columns_of(text: str) -> int:
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
    table = Table(headers)
    for row in rows:
        table.add(row)
    return "\n".join(table.lines(painter))


class Table:
    """A table that grows row by row, for those who must not take long over it."""

    def __init__(self, headers: Sequence[str]) -> None:
        self._headers = headers
        self._widths = [columns_of(header) for header in headers]
        self._rows: list[list[str]] = []

    def add(self, row: Sequence[Any]) -> None:
        texts = [cell(value) for value in row]
        self._widths = [
            max(width, columns_of(text)) for width, text in zip(self._widths, texts, strict=True)
        ]
        self._rows.append(texts)

    def lines(self, painter: Painter | None = None) -> Iterator[str]:
        """Its lines, without line breaks; nothing may be added any more."""
        rule = "+" + "+".join("-" * (width + 2) for width in self._widths) + "+"
        yield from (rule, self._line(self._headers), rule)
        for number, row in enumerate(self._rows):
            yield self._line(row, number, painter)
        yield rule

    def _line(
        self, cells: Sequence[str], row: int | None = None, painter: Painter | None = None
    ) -> str:
        padded = (
            f" {_painted(painter, row, column, text)}{' ' * (width - columns_of(text))} "
            for column, (text, width) in enumerate(zip(cells, self._widths, strict=True))
        )
        return "|" + "|".join(padded) + "|"


def _painted(painter: Painter | None, row: int | None, column: int, text: str) -> str:
    return text if painter is None or row is None else painter(row, column, text)
