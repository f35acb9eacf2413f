"""What was found to be wrong, and how it is told."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import attrs

__all__ = ["Breach", "LogWatch", "Verdict"]

#: What a log holds only when something was not foreseen.
_UNFORESEEN = re.compile(r"Traceback|Unhandled|critical", re.IGNORECASE)

#: Characters of a log around what was not foreseen.
_BEFORE, _AFTER = 500, 3000


@attrs.frozen
class Breach:
    """Something that must not happen, whatever goes wrong.

    :ivar rule: one of the checker's, or `client`, `rest`, `log`, `surprise`, `instrument`.
    :ivar trail: what led to it, a line for each transaction.
    """

    rule: str
    words: str
    trail: Sequence[str] = ()

    def __str__(self) -> str:
        return "\n".join([f"{self.rule}: {self.words}", *(f"    {line}" for line in self.trail)])


@attrs.define
class Verdict:
    """All breaches, in the order in which they were found."""

    breaches: list[Breach] = attrs.field(factory=list)

    def add(self, rule: str, words: str, trail: Sequence[str] = ()) -> None:
        self.breaches.append(Breach(rule, words, tuple(trail)))

    @property
    def good(self) -> bool:
        return not self.breaches


class LogWatch:
    """Reads what is appended to a log, for what nobody has foreseen."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._place = 0

    def look(self) -> str | None:
        """The first such thing in what is new, with what is around it."""
        if not self._path.exists():
            return None
        with self._path.open("rb") as log:
            log.seek(self._place)
            new = log.read()
        # What is cut off in the middle of a line is read with its end.
        whole = new[: new.rfind(b"\n") + 1]
        text = whole.decode(errors="replace")
        found = _UNFORESEEN.search(text)
        if found is None:
            self._place += len(whole)
            return None
        self._place += len(new)
        return text[max(0, found.start() - _BEFORE) : found.end() + _AFTER]
