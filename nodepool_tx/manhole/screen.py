"""The terminal at the other end: its size, and what is written to it.

Nothing is kept for an end that does not read: what is written while it does
not is thrown away, but for the line that is being typed.
"""

from __future__ import annotations

from collections.abc import Callable

__all__ = ["Screen"]

#: Sizes that are believed.
_WIDTHS, _HEIGHTS = (20, 500), (5, 300)
_ERASE_LINE = "\r\x1b[2K"


class Screen:
    """A terminal.

    :param write: sends bytes to it.
    :ivar width: in columns.
    :ivar height: in rows.
    """

    def __init__(self, write: Callable[[bytes], None], width: int = 80, height: int = 24) -> None:
        self._write = write
        self.width = self.height = 0
        self.resize(width, height)

    def resize(self, width: int, height: int) -> None:
        """It has another size now; 0 stands for one that is not known."""
        self.width = min(max(width or 80, _WIDTHS[0]), _WIDTHS[1])
        self.height = min(max(height or 24, _HEIGHTS[0]), _HEIGHTS[1])

    def send(self, text: str) -> None:
        """Send text as it is."""
        self._write(text.encode("utf-8", "replace"))

    def line(self, text: str = "") -> None:
        """Write a line of its own."""
        self.send(text + "\r\n")

    def draw(self, text: str, cursor: int) -> None:
        """Show the line that is being typed, with the cursor in a column."""
        self.send(f"{_ERASE_LINE}{text}\r" + (f"\x1b[{cursor}C" if cursor else ""))

    def erase(self) -> None:
        """Take the line away that the cursor is in."""
        self.send(_ERASE_LINE)

    def clear(self) -> None:
        """Take everything away."""
        self.send("\x1b[H\x1b[2J")
