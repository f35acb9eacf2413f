"""From the bytes a terminal sends to the keys that were pressed."""

from __future__ import annotations

import codecs
import re

import attrs

__all__ = ["Key", "Keyboard"]

#: More of one key than any terminal sends is thrown away.
LONGEST_SEQUENCE = 32
#: Of a paste; what is beyond is thrown away.
LONGEST_PASTE = 100_000

_PASTE_BEGINS, _PASTE_ENDS = "\x1b[200~", "\x1b[201~"
_SEQUENCE = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|O.|[^\[O])", re.DOTALL)
_NAMED = {
    "A": "up",
    "B": "down",
    "C": "right",
    "D": "left",
    "H": "home",
    "F": "end",
    "1~": "home",
    "7~": "home",
    "4~": "end",
    "8~": "end",
    "3~": "delete",
    "5~": "page-up",
    "6~": "page-down",
    "1;5C": "word-right",
    "1;3C": "word-right",
    "1;5D": "word-left",
    "1;3D": "word-left",
}
_META = {"b": "word-left", "f": "word-right", "d": "delete-word", "\x7f": "ctrl-w"}
_CONTROLS = {"\r": "enter", "\n": "enter", "\t": "tab", "\x7f": "backspace", "\x08": "backspace"}


@attrs.frozen
class Key:
    """One key.

    :ivar name: such as ``up`` or ``ctrl-c``; ``text`` for a character, and
        ``paste`` for what was pasted.
    """

    name: str
    text: str = ""


class Keyboard:
    """Collects bytes until they make up keys."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._waiting = ""
        self._pasted: str | None = None
        self._returned = False

    def feed(self, data: bytes) -> list[Key]:
        """The keys that are complete now."""
        self._waiting += self._decoder.decode(data)
        keys: list[Key] = []
        while self._waiting:
            if self._pasted is not None:
                if not self._collect_paste(keys):
                    break
            elif self._waiting[0] != "\x1b":
                letter, self._waiting = self._waiting[0], self._waiting[1:]
                # A line's end may come as two characters.
                if not (letter == "\n" and self._returned):
                    keys += _plain(letter)
                self._returned = letter == "\r"
            elif not self._take_sequence(keys):
                break
        return keys

    def _take_sequence(self, keys: list[Key]) -> bool:
        """Take one escape sequence off; False if it is not complete."""
        found = _SEQUENCE.match(self._waiting)
        if found is None:
            if len(self._waiting) > LONGEST_SEQUENCE:
                self._waiting = ""
            return False
        sequence = found.group()
        self._waiting = self._waiting[len(sequence) :]
        if sequence == _PASTE_BEGINS:
            self._pasted = ""
        elif sequence[1] in "[O":
            name = _NAMED.get(sequence[2:])
            keys += [Key(name)] if name else []
        else:
            name = _META.get(sequence[1])
            keys += [Key(name)] if name else []
        return True

    def _collect_paste(self, keys: list[Key]) -> bool:
        assert self._pasted is not None
        text, end, rest = self._waiting.partition(_PASTE_ENDS)
        if not end:
            # The end may be under way in pieces.
            kept = len(_PASTE_ENDS) - 1
            text, rest = self._waiting[:-kept], self._waiting[-kept:]
        self._pasted = (self._pasted + text)[:LONGEST_PASTE]
        self._waiting = rest
        if end:
            lines = self._pasted.replace("\r\n", "\n").replace("\r", "\n").expandtabs(4)
            pasted = "".join(c for c in lines if c == "\n" or c.isprintable())
            keys.append(Key("paste", pasted))
            self._pasted = None
        return bool(end)


def _plain(letter: str) -> list[Key]:
    if letter in _CONTROLS:
        return [Key(_CONTROLS[letter])]
    if "\x01" <= letter <= "\x1a":
        return [Key(f"ctrl-{chr(ord(letter) + 96)}")]
    return [Key("text", letter)] if letter.isprintable() else []
