"""What Tab offers: names, attributes, keys, and the names of things there are."""

from __future__ import annotations

import builtins
import keyword
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

__all__ = ["complete", "shared_beginning"]

#: More are not shown, and would not help.
MOST = 200

_NAME = re.compile(r"(?:\w+\.)*\w*\Z")


def complete(
    text: str, names: Mapping[str, Any], known: Callable[[], Iterable[str]]
) -> tuple[str, list[str]]:
    """What could follow at the end of ``text``.

    Nothing is run for that: attributes are looked at only where that cannot
    have an effect.

    :param known: ids and names that are typed as text.
    :returns: the part that is to be replaced, and with what.
    """
    if _open_quote(text):
        begun = text[text.rindex(_open_quote(text)) + 1 :]
        found = sorted({name for name in known() if name.startswith(begun)})
        return begun, found[:MOST]
    match = _NAME.search(text)
    expression = match.group() if match else ""
    owner, dot, begun = expression.rpartition(".")
    if not dot:
        offers = {*names, *dir(builtins), *keyword.kwlist}
    else:
        offers = _attributes(owner, names)
    found = sorted(
        name
        for name in offers
        if name.startswith(begun) and (begun.startswith("_") or not name.startswith("_"))
    )
    return begun, found[:MOST] if begun or dot else sorted(_own(names))[:MOST]


def _own(names: Mapping[str, Any]) -> list[str]:
    return [name for name in names if not name.startswith("_")]


def _open_quote(text: str) -> str:
    """The quote that a text at the end was begun with; empty if there is none."""
    opened = ""
    escaped = False
    for letter in text:
        if escaped:
            escaped = False
        elif letter == "\\" and opened:
            escaped = True
        elif letter == opened:
            opened = ""
        elif letter in "\"'" and not opened:
            opened = letter
    return opened


def _attributes(path: str, names: Mapping[str, Any]) -> set[str]:
    first, *rest = path.split(".")
    value: Any = names.get(first, _NOTHING)
    for name in rest:
        # A property may do anything, so nothing is looked through but plain attributes.
        own = getattr(value, "__dict__", None)
        value = own.get(name, _NOTHING) if isinstance(own, dict) else _NOTHING
    if value is _NOTHING:
        return set()
    try:
        return {name for name in dir(value) if isinstance(name, str)}
    except Exception:
        return set()


_NOTHING = object()


def shared_beginning(words: list[str]) -> str:
    """What all of them begin with."""
    if not words:
        return ""
    low, high = min(words), max(words)
    for at, letter in enumerate(low):
        if high[at : at + 1] != letter:
            return low[:at]
    return low
