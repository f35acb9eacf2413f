"""How much room text takes on a terminal."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator

__all__ = ["columns", "cut", "fitted", "plain", "wrapped"]


def plain(text: str) -> str:
    """``text`` with everything that would steer a terminal spelled out."""
    if text.isprintable():
        return text
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode() for char in text
    )


def columns(text: str) -> int:
    """Wide characters take two columns, accents none."""
    return len(text) if text.isascii() else sum(map(_width, text))


def _width(char: str) -> int:
    if unicodedata.combining(char):
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1


def cut(text: str, width: int) -> str:
    """As much of the text as there is room for."""
    if columns(text) <= width:
        return text
    room, at = width, 0
    for char in text:
        room -= _width(char)
        if room < 0:
            break
        at += 1
    return text[:at]


def fitted(text: str, width: int) -> str:
    """Exactly as wide as that: filled up, or cut with a sign that it is."""
    if columns(text) > width:
        text = cut(text, max(0, width - 1)) + ("…" if width else "")
    return text + " " * (width - columns(text))


def wrapped(text: str, width: int) -> Iterator[str]:
    """The text in pieces that have room."""
    width = max(2, width)
    while True:
        piece = cut(text, width)
        yield piece
        text = text[len(piece) :]
        if not text:
            return
