"""Typed reading of a configuration tree.

A :class:`Cursor` is a place in a file.  A :class:`Section` is a mapping there
whose keys are read by type.  Reading never raises: what is wrong is noted with
its position, and the default takes the place of the value, so that the rest of
the file is looked at too.  The result is thrown away when there were errors.
"""

from __future__ import annotations

import datetime
import difflib
import json
import math
import re
from collections.abc import Collection, Iterable, Mapping
from typing import TypeVar

from nodepool_tx.config.document import Document, printable
from nodepool_tx.config.frozen import Frozen, FrozenMapping
from nodepool_tx.config.source import ENV_REFERENCE
from nodepool_tx.config.tree import MappingNode, Node, ScalarNode, SequenceNode, type_name

__all__ = ["Cursor", "Section", "suggest"]

T = TypeVar("T")
_PLAIN_KEY = re.compile(r"[\w-]+\Z")


def suggest(word: str, known: Iterable[str]) -> str | None:
    """A hint that names what ``word`` was probably meant to be."""
    if len(word) > 100:
        return None
    by_folded = {name.replace("_", "-").lower(): name for name in known}
    close = difflib.get_close_matches(word.replace("_", "-").lower(), by_folded, n=1, cutoff=0.7)
    return f"did you mean {by_folded[close[0]]}?" if close else None


class Cursor:
    """One value of a file, how it was reached, and a voice to complain with."""

    __slots__ = ("document", "key", "node", "parent")

    def __init__(
        self,
        document: Document,
        node: Node,
        parent: Cursor | None = None,
        key: str | int | None = None,
    ) -> None:
        self.document = document
        self.node = node
        self.parent = parent
        self.key = key

    @property
    def path(self) -> str:
        """Such as ``providers[0].pools[1].name``; empty at the top."""
        steps: list[str] = []
        place: Cursor | None = self
        while place is not None:
            if isinstance(place.key, int):
                steps.append(f"[{place.key}]")
            elif place.key is not None:
                key = place.key
                steps.append(f".{key}" if _PLAIN_KEY.match(key) else f"[{printable(key)!r}]")
            place = place.parent
        return "".join(reversed(steps)).removeprefix(".")

    @property
    def line(self) -> int:
        """The line the value begins in."""
        return self.document.line_of(self.node.index)

    def error(self, message: str, hint: str | None = None) -> None:
        """Note that this value cannot be used."""
        self.document.error(self.node.index, self.path, message, hint)

    def warning(self, message: str, hint: str | None = None) -> None:
        """Note that this value is probably not what was meant."""
        self.document.warning(self.node.index, self.path, message, hint)

    def child(self, key: str | int, node: Node) -> Cursor:
        """A value below this one."""
        return Cursor(self.document, node, self, key)

    def describe(self) -> str:
        """What is here, in words; without the value where it may be secret."""
        node = self.node
        if isinstance(node, MappingNode):
            return "a mapping"
        if not isinstance(node, ScalarNode):
            return "a list"
        name = type_name(node.value)
        if node.value is None or not self.document.show_values:
            return name
        return f"{name}: {printable(node.text, 40)}"

    def wrong_type(self, wanted: str, hint: str | None = None) -> None:
        """Note that something of another type is needed."""
        unset = ENV_REFERENCE.search(self.node.text) if isinstance(self.node, ScalarNode) else None
        if unset is not None:
            hint = f"the environment variable {printable(unset.group(1))} is not set"
        self.error(f"must be {wanted}, not {self.describe()}", hint)

    def items(self, wanted: str = "a list") -> list[Cursor]:
        """The items of the list this is."""
        if not isinstance(self.node, SequenceNode):
            self.wrong_type(wanted)
            return []
        return [self.child(at, item) for at, item in enumerate(self.node.items)]

    def text(self, wanted: str = "text") -> str | None:
        """The text this is; None, and noted, when it is something else."""
        node = self.node
        if isinstance(node, ScalarNode) and type(node.value) is str:
            if node.value.strip():
                return node.value
            self.error("must not be empty")
            return None
        hint = None
        if isinstance(node, ScalarNode) and node.value is not None:
            hint = f"put it in quotes: '{printable(node.text, 40)}'"
            hint = hint if self.document.show_values else "put it in quotes"
        self.wrong_type(wanted, hint)
        return None

    def word(self, wanted: str = "text") -> str | None:
        """Like :meth:`text`, without white space in it."""
        value = self.text(wanted)
        if value is not None and any(letter.isspace() for letter in value):
            self.error("must not contain spaces")
            return None
        return value

    def section(
        self,
        what: str,
        known: Collection[str] | None,
        misnomers: Mapping[str, str] | None = None,
    ) -> Section | None:
        """The mapping this is; None, and noted, when it is something else.

        :param what: what the mapping describes, for messages.
        :param known: the keys it may have; None when any will do.
        :param misnomers: what to say about particular wrong keys.
        """
        if not isinstance(self.node, MappingNode):
            self.wrong_type(f"a mapping that describes {what}")
            return None
        if known is not None:
            self._refuse_unknown(self.node, what, known, misnomers or {})
        return Section(self, self.node, what)

    def _refuse_unknown(
        self, node: MappingNode, what: str, known: Collection[str], misnomers: Mapping[str, str]
    ) -> None:
        for filed, (key, _) in node.entries.items():
            if filed in known:
                continue
            hint = None
            if not self.document.problems.full:
                hint = misnomers.get(key.text) or suggest(key.text, known)
            self.child(key.text, key).error(f"{what} has no such key", hint)

    def frozen(self, *, dates: bool = False) -> Frozen:
        """Whatever this is, as a value that nobody can change.

        Keys become text as JSON makes them.  Dates, which JSON does not have,
        are refused unless ``dates``.
        """
        node = self.node
        if isinstance(node, SequenceNode):
            items = (self.child(at, item) for at, item in enumerate(node.items))
            return tuple(item.frozen(dates=dates) for item in items)
        if not isinstance(node, ScalarNode):
            return self.frozen_mapping(dates=dates)
        if isinstance(node.value, datetime.date) and not dates:
            self.error("is read as a date", "put it in quotes")
            return node.text
        value: Frozen = node.value
        return value

    def frozen_mapping(self, *, dates: bool = False) -> FrozenMapping[str, Frozen]:
        """Like :meth:`frozen`, of what must be a mapping."""
        if not isinstance(self.node, MappingNode):
            self.wrong_type("a mapping")
            return FrozenMapping()
        result: dict[str, Frozen] = {}
        for key, value in self.node.entries.values():
            name = key.value if isinstance(key.value, str) else key.text
            if isinstance(key.value, (bool, int, float)) or key.value is None:
                name = json.dumps(key.value)
            if name in result:
                self.child(name, key).error("is given twice, with and without quotes")
            result[name] = self.child(name, value).frozen(dates=dates)
        return FrozenMapping(result)


class Section:
    """A mapping of the file, read key by key.

    A key without a value counts as absent; for a scalar that is worth a
    warning, while an empty list or mapping is what remains when everything
    below it was commented out.
    """

    __slots__ = ("cursor", "node", "what")

    def __init__(self, cursor: Cursor, node: MappingNode, what: str) -> None:
        self.cursor = cursor
        self.node = node
        self.what = what

    def has(self, key: str) -> bool:
        """The key is there, with a value."""
        return self._value(key) is not None

    def at(self, key: str) -> Cursor | None:
        """The value of ``key``; None when there is none."""
        node = self._value(key)
        return None if node is None else self.cursor.child(key, node)

    def required(self, key: str) -> Cursor | None:
        """The value of ``key``; None, and noted, when there is none."""
        place = self.at(key)
        if place is None:
            entry = self.node.entries.get(key)
            if entry is None:
                self.cursor.error(f"{self.what} needs the key '{key}'")
            else:
                self.cursor.child(key, entry[0]).error("needs a value")
        return place

    def _value(self, key: str) -> Node | None:
        entry = self.node.entries.get(key)
        if entry is None:
            return None
        node = entry[1]
        if isinstance(node, ScalarNode) and node.value is None:
            return None
        return node

    def _scalar(self, key: str) -> Cursor | None:
        entry = self.node.entries.get(key)
        if entry is None:
            return None
        place = self.at(key)
        if place is None:
            self.cursor.child(key, entry[0]).warning("has no value, so the default applies")
        return place

    def text(self, key: str, default: T) -> str | T:
        """Text that is not empty."""
        place = self._scalar(key)
        value = None if place is None else place.text()
        return default if value is None else value

    def integer(
        self,
        key: str,
        default: T,
        *,
        minimum: int | None = None,
        maximum: int | None = None,
        hint: str | None = None,
    ) -> int | T:
        """A whole number; ``hint`` is for one out of range."""
        place = self._scalar(key)
        if place is None:
            return default
        value = place.node.value if isinstance(place.node, ScalarNode) else None
        if type(value) is not int:
            quoted = isinstance(value, str) and value.strip().lstrip("+-").isdecimal()
            place.wrong_type("a whole number", "remove the quotes" if quoted else None)
            return default
        if minimum is not None and value < minimum:
            place.error(f"must be {minimum} or more, not {printable(str(value), 40)}", hint)
            return default
        if maximum is not None and value > maximum:
            place.error(f"must be {maximum} or less, not {printable(str(value), 40)}", hint)
            return default
        return value

    def seconds(self, key: str, default: float) -> float:
        """A finite number above zero, whole or not."""
        place = self._scalar(key)
        if place is None:
            return default
        value = place.node.value if isinstance(place.node, ScalarNode) else None
        if not isinstance(value, (int, float)) or isinstance(value, bool):
            place.wrong_type("a number of seconds")
            return default
        try:
            number = float(value)
        except OverflowError:
            number = math.inf
        if not 0 < number < math.inf:
            place.error("must be a finite number of seconds above zero")
            return default
        return number

    def boolean(self, key: str, default: bool) -> bool:
        """True or false."""
        place = self._scalar(key)
        if place is None:
            return default
        value = place.node.value if isinstance(place.node, ScalarNode) else None
        if type(value) is not bool:
            quoted = isinstance(value, str) and value.lower() in {"true", "false", "yes", "no"}
            place.wrong_type("true or false", "remove the quotes" if quoted else None)
            return default
        return value

    def items(self, key: str) -> list[Cursor]:
        """The items of a list; none when it is absent."""
        place = self.at(key)
        return [] if place is None else place.items()

    def texts(self, key: str) -> list[Cursor]:
        """One text, or the items of a list, to be read as texts."""
        place = self.at(key)
        if place is None:
            return []
        if isinstance(place.node, ScalarNode):
            return [place]
        return place.items("text or a list of texts")

    def mapping(self, key: str) -> FrozenMapping[str, Frozen] | None:
        """A free-form mapping; None when it is absent."""
        place = self.at(key)
        return None if place is None else place.frozen_mapping()
