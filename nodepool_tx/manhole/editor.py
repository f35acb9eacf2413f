"""One line that is being typed: moving about in it, and the lines typed before."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import accumulate

from nodepool_tx.manhole.keyboard import Key
from nodepool_tx.reports.table import columns_of

__all__ = ["LineEditor"]

LONGEST_LINE = 10_000
_WORD_BEFORE = re.compile(r"\w*\W*\Z")
_WORD_AFTER = re.compile(r"\W*\w*")


class LineEditor:
    """The text, the place in it, and what keys do to both.

    :param history: lines typed before, oldest first; looked at, never changed.
    :ivar text: what stands there.
    :ivar at: before which character the cursor stands.
    """

    def __init__(self, history: Sequence[str] = ()) -> None:
        self._history = history
        self._killed = ""
        self.text = ""
        self.at = 0
        self._back = 0
        self._typed = ""

    def reset(self, text: str = "") -> None:
        """Begin a new line."""
        self.text, self.at = text, len(text)
        self._back = 0

    def insert(self, text: str) -> None:
        """Put text in where the cursor stands."""
        text = text[: max(0, LONGEST_LINE - len(self.text))]
        self.text = self.text[: self.at] + text + self.text[self.at :]
        self.at += len(text)
        self._back = 0

    def press(self, key: Key) -> bool:
        """Do what a key stands for; False if it is none that edits."""
        if key.name == "text":
            self.insert(key.text)
            return True
        action = getattr(self, "_on_" + _ACTIONS.get(key.name, key.name).replace("-", "_"), None)
        if action is None:
            return False
        if key.name not in ("up", "down", "ctrl-p", "ctrl-n"):
            self._back = 0
        action()
        return True

    def render(self, prompt: str, width: int) -> tuple[str, int]:
        """The line as it fits, and the column of the cursor; a long one moves sideways."""
        room = max(10, width - columns_of(prompt) - 1)
        # How wide everything before each character is.
        before = [0, *accumulate(map(columns_of, self.text))]
        begin = 0
        while before[self.at] - before[begin] > room:
            # In steps, so that not every key moves everything.
            begin = min(begin + room // 2, self.at)
        end = begin
        while end < len(self.text) and before[end + 1] - before[begin] <= room:
            end += 1
        shown = ("<" if begin else "") + self.text[begin + bool(begin) : end]
        cursor = ("<" if begin else "") + self.text[begin + bool(begin) : self.at]
        return prompt + shown, columns_of(prompt) + columns_of(cursor)

    # -- moving ----------------------------------------------------------

    def _on_left(self) -> None:
        self.at = max(0, self.at - 1)

    def _on_right(self) -> None:
        self.at = min(len(self.text), self.at + 1)

    def _on_home(self) -> None:
        self.at = 0

    def _on_end(self) -> None:
        self.at = len(self.text)

    def _on_word_left(self) -> None:
        found = _WORD_BEFORE.search(self.text[: self.at])
        self.at = found.start() if found else 0

    def _on_word_right(self) -> None:
        found = _WORD_AFTER.match(self.text, self.at)
        self.at = found.end() if found else len(self.text)

    # -- taking out ------------------------------------------------------

    def _take_out(self, begin: int, end: int, keep: bool = True) -> None:
        if keep:
            self._killed = self.text[begin:end]
        self.text = self.text[:begin] + self.text[end:]
        self.at = begin

    def _on_backspace(self) -> None:
        if self.at:
            self._take_out(self.at - 1, self.at, keep=False)

    def _on_delete(self) -> None:
        self._take_out(self.at, self.at + 1, keep=False)

    def _on_ctrl_u(self) -> None:
        self._take_out(0, self.at)

    def _on_ctrl_k(self) -> None:
        self._take_out(self.at, len(self.text))

    def _on_ctrl_w(self) -> None:
        end = self.at
        self._on_word_left()
        self._take_out(self.at, end)

    def _on_delete_word(self) -> None:
        begin = self.at
        self._on_word_right()
        self._take_out(begin, self.at)

    def _on_ctrl_y(self) -> None:
        self.insert(self._killed)

    # -- what was typed before -------------------------------------------

    def _on_up(self) -> None:
        self._go_back(1)

    def _on_down(self) -> None:
        self._go_back(-1)

    def _go_back(self, step: int) -> None:
        """The line before, or after, that begins as what was typed does."""
        if self._back == 0:
            self._typed = self.text
        back = self._back + step
        while 0 < back <= len(self._history):
            if self._history[-back].startswith(self._typed):
                self._back = back
                self.text = self._history[-back]
                self.at = len(self.text)
                return
            back += step
        if back <= 0:
            self._back = 0
            self.text, self.at = self._typed, len(self._typed)


_ACTIONS = {
    "ctrl-a": "home",
    "ctrl-b": "left",
    "ctrl-e": "end",
    "ctrl-f": "right",
    "ctrl-h": "backspace",
    "ctrl-n": "down",
    "ctrl-p": "up",
}
