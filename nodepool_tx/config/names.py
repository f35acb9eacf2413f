"""Names that may be given only once."""

from __future__ import annotations

from nodepool_tx.config.document import printable
from nodepool_tx.config.section import Cursor, Section

__all__ = ["UniqueNames"]


class UniqueNames:
    """Reads the names of like things and refuses the second of each.

    :param kind: what they name, for messages.
    :param key: where the name stands.
    :param slashes: False when the name becomes part of a path in ZooKeeper.
    """

    def __init__(self, kind: str, key: str = "name", *, slashes: bool = True) -> None:
        self._kind = kind
        self._key = key
        self._slashes = slashes
        self._first: dict[str, Cursor] = {}

    def read(self, section: Section) -> str | None:
        """The name of this section; None, and noted, when it has none."""
        place = section.required(self._key)
        name = None if place is None else place.text()
        if place is None or name is None:
            return None
        self.claim(name, place)
        return name

    def claim(self, name: str, place: Cursor) -> None:
        """Note an error at ``place`` when ``name`` was there before."""
        if not self._slashes and "/" in name:
            place.error("must not contain a slash")
        first = self._first.setdefault(name, place)
        if first is not place:
            place.error(
                f"the {self._kind} {printable(name)} is given twice, first in line {first.line}"
            )
