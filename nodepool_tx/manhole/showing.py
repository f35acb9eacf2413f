"""How results become lines: as many as are looked at, and never more than fit.

Whatever has a method ``lines(width)`` is shown by it, a line at a time, so that
ten thousand nodes cost as much as the page of them that somebody looks at.
"""

from __future__ import annotations

import reprlib
import traceback
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, Protocol, runtime_checkable

from nodepool_tx.manhole.widths import cut, fitted, wrapped
from nodepool_tx.reports.table import columns_of, printable

__all__ = ["Shown", "Table", "describe_error", "lines_of"]

#: Rows of a table that are measured and drawn together.
ROWS_AT_ONCE = 50
#: Of any text that is shown.
LONGEST_TEXT = 20_000
#: Frames of a traceback.
FRAMES = 3


@runtime_checkable
class Shown(Protocol):
    """Something that knows what it looks like on a terminal."""

    def lines(self, width: int) -> Iterator[str]:
        """One after the other, each no wider than that if it can be helped."""


class _Brief(reprlib.Repr):
    def __init__(self) -> None:
        super().__init__()
        self.maxstring = self.maxother = 2000
        self.maxlist = self.maxtuple = self.maxset = self.maxfrozenset = self.maxdeque = 30
        self.maxdict = 30
        self.maxlevel = 4

    def repr_instance(self, x: Any, level: int) -> str:
        try:
            text = repr(x)
        except Exception as e:
            return f"<{type(x).__name__} that cannot be shown: {type(e).__name__}>"
        return text if len(text) <= self.maxother else text[: self.maxother] + "..."


_brief = _Brief()


def lines_of(value: Any, width: int) -> Iterator[str]:
    """What a value looks like; nothing for None."""
    if value is None:
        return
    if isinstance(value, Shown) and not isinstance(value, type):
        yield from value.lines(width)
        return
    for line in _brief.repr(value)[:LONGEST_TEXT].split("\n"):
        yield from wrapped(printable(line), width)


def describe_error(error: BaseException) -> list[str]:
    """The error and where it came from: the innermost places, not the way to them."""
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if not frame.filename.endswith(("/manhole/evaluating.py", "/internet/defer.py"))
    ]
    lines = [
        printable(f"  {_place(frame.filename)}:{frame.lineno} in {frame.name}: {frame.line or ''}")
        for frame in frames[-FRAMES:]
        if frame.filename != "<console>" or frame.name != "<module>"
    ]
    if len(frames) > FRAMES:
        lines.insert(0, f"  ... {len(frames) - FRAMES} more")
    text = "".join(traceback.format_exception_only(type(error), error))[:LONGEST_TEXT]
    return [*lines, *(printable(line) for line in text.rstrip().split("\n"))]


def _place(path: str) -> str:
    _, found, rest = path.rpartition("/nodepool_tx/")
    return f"nodepool_tx/{rest}" if found else path.rpartition("/")[2]


class Table:
    """Rows under headers, drawn so many at a time; wide columns give way.

    The first column says what a row is about, such as a node's id, and stays
    whole if that leaves room for the others.

    :param rows: made one by one, when they are looked at.
    :param nothing: what to say when there are none.
    :param total: how many rows there are, if that is known.
    """

    def __init__(
        self,
        headers: Sequence[str],
        rows: Iterable[Sequence[Any]],
        nothing: str = "nothing",
        total: int | None = None,
    ) -> None:
        self._headers = headers
        self._rows = rows
        self._nothing = nothing
        self._total = total

    def lines(self, width: int) -> Iterator[str]:
        """See :class:`Shown`."""
        rows = iter(self._rows)
        count = 0
        while chunk := [tuple(map(_cell, row)) for row in islice(rows, ROWS_AT_ONCE)]:
            widths = _widths([self._headers, *chunk], width)
            if count == 0:
                yield cut(_line(self._headers, widths), width)
                yield cut(_line(["-" * each for each in widths], widths), width)
            count += len(chunk)
            for row in chunk:
                yield cut(_line(row, widths), width)
        if count == 0:
            yield self._nothing
        elif self._total is not None:
            yield f"({self._total} in all)"


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, (list, tuple)):
        return ",".join(map(_cell, value))
    return printable(str(value)[:500])


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    return "  ".join(map(fitted, cells, widths)).rstrip()


def _widths(rows: Sequence[Sequence[str]], width: int) -> list[int]:
    """As wide as the widest cell; when that is too much, the widest columns give way."""
    wanted = [max(map(columns_of, column)) for column in zip(*rows, strict=True)]
    least = [max(4, columns_of(header)) for header in rows[0]]
    least[0] = max(least[0], min(wanted[0], width // 2))
    room = width - 2 * (len(wanted) - 1)
    while sum(wanted) > room:
        spare = [w - m for w, m in zip(wanted, least, strict=True)]
        most = max(spare)
        if most <= 0:
            break
        widest = max(range(len(wanted)), key=lambda i: (spare[i] > 0, wanted[i]))
        over = sum(wanted) - room
        others = [w for i, w in enumerate(wanted) if i != widest and spare[i] > 0]
        target = max([least[widest], wanted[widest] - over, *others])
        wanted[widest] = min(wanted[widest] - 1, max(target, least[widest]))
    return wanted
