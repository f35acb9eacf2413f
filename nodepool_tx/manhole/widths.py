"""How much room text takes on a terminal."""

from __future__ import annotations

from collections.abc import Iterator

from nodepool_tx.reports.table import columns_of

__all__ = ["cut", "fitted", "wrapped"]


def cut(text: str, width: int) -> str:
    """As much of the text as there is room for."""
    if columns_of(text) <= width:
        return text
    room, at = width, 0
    for char in text:
        room -= columns_of(char)
        if room < 0:
            break
        at += 1
    return text[:at]


def fitted(text: str, width: int) -> str:
    """Exactly as wide as that: filled up, or cut with a sign that it is."""
    if columns_of(text) > width:
        text = cut(text, max(0, width - 1)) + ("…" if width else "")
    return text + " " * (width - columns_of(text))


def wrapped(text: str, width: int) -> Iterator[str]:
    """The text in pieces that have room."""
    width = max(2, width)
    while True:
        piece = cut(text, width)
        yield piece
        text = text[len(piece) :]
        if not text:
            return
