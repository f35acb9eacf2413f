"""YAML text to a tree of values that know where they were written.

The tree is built from the parser's events rather than with PyYAML's own
composer: that one recurses in C, so that deeply nested input ends the process,
it keeps two positions per node where one is needed, and it lets a key that is
given twice pass.  Scalars get the types that PyYAML's safe loader gives them.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable, Hashable
from typing import Any

import yaml

__all__ = [
    "MAX_DEPTH",
    "MappingNode",
    "Node",
    "ScalarNode",
    "SequenceNode",
    "TreeBuilder",
    "Unreadable",
    "entry_key",
    "type_name",
]

_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_TAG = "tag:yaml.org,2002:"

#: How deep collections may be nested, aliases followed.
MAX_DEPTH = 64
#: How many values aliases and merge keys may stand for: this many, and this
#: many times what is written out.
ALIAS_ALLOWANCE = 500_000
ALIAS_RATIO = 5
#: The longest text taken for a number or a date.
MAX_NUMBER_LENGTH = 200


class Unreadable(Exception):
    """The text cannot be turned into a tree.

    :ivar index: the character of the text where this was noticed.
    """

    def __init__(self, index: int, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.index = index
        self.hint = hint


class Node:
    """One value of the file.

    :ivar index: where it begins in the parsed text.
    :ivar weight: how many values it is when all aliases are written out.
    :ivar height: how many collections are nested in it, itself included.
    """

    __slots__ = ("height", "index", "weight")

    def __init__(self, index: int) -> None:
        self.index = index
        self.weight = 1
        self.height = 0


class ScalarNode(Node):
    """A single value; ``text`` is how it is written."""

    __slots__ = ("text", "value")

    def __init__(self, index: int, text: str, value: Any) -> None:
        super().__init__(index)
        self.text = text
        self.value = value


class SequenceNode(Node):
    """A list."""

    __slots__ = ("items",)

    def __init__(self, index: int) -> None:
        super().__init__(index)
        self.items: list[Node] = []


class MappingNode(Node):
    """A mapping: :func:`entry_key` of each key to the key and its value."""

    __slots__ = ("entries",)

    def __init__(self, index: int) -> None:
        super().__init__(index)
        self.entries: dict[Hashable, tuple[ScalarNode, Node]] = {}


def entry_key(value: Any) -> Hashable:
    """What a key is filed under: 1, True and '1' are three keys."""
    return value if type(value) is str else (type(value), value)


def type_name(value: Any) -> str:
    """A scalar's type in words an operator uses."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "true or false"
    if isinstance(value, int):
        return "a whole number"
    if isinstance(value, float):
        return "a number"
    if isinstance(value, datetime.date):
        return "a date"
    return "text"


class _Merge:
    """What the key ``<<`` is read as."""


_MERGE = _Merge()


class _Frame:
    """A collection whose end was not seen yet."""

    __slots__ = ("key", "merges", "node")

    def __init__(self, node: SequenceNode | MappingNode) -> None:
        self.node = node
        self.key: ScalarNode | None = None
        self.merges: list[tuple[ScalarNode, Node]] = []


class TreeBuilder:
    """Turns the events of one document into its tree.

    :param repeated: told of each key that is given twice: its index, the
        path to it and the index of the first one.
    """

    def __init__(self, text: str, repeated: Callable[[int, str, int], None]) -> None:
        self._repeated = repeated
        self._loader = _Loader(text)
        self._stack: list[_Frame] = []
        self._anchors: dict[str, Node] = {}
        self._open: set[int] = set()
        self._plain: dict[str, Any] = {}
        self._written = 0
        self._aliased = 0
        self._root: Node | None = None

    def build(self) -> Node | None:
        """Read to the end; None when there is nothing but comments.

        :raises Unreadable: what PyYAML accepts and this does not.
        :raises yaml.YAMLError: the text is not YAML.
        """
        handlers: dict[type, Callable[[Any], None]] = {
            yaml.ScalarEvent: self._scalar,
            yaml.MappingStartEvent: self._mapping,
            yaml.SequenceStartEvent: self._sequence,
            yaml.MappingEndEvent: self._mapping_end,
            yaml.SequenceEndEvent: self._sequence_end,
            yaml.AliasEvent: self._alias,
            yaml.DocumentStartEvent: self._document,
        }
        loader = self._loader
        try:
            while loader.check_event():
                event = loader.get_event()
                handle = handlers.get(type(event))
                if handle is not None:
                    handle(event)
        finally:
            loader.dispose()
        return self._root

    def _document(self, event: Any) -> None:
        if self._root is not None:
            raise Unreadable(event.start_mark.index, "a second YAML document begins here")

    def _scalar(self, event: Any) -> None:
        text, tag = event.value, event.tag
        index = event.start_mark.index
        given = tag is not None and tag != "!"
        if not given and event.implicit[0]:
            try:
                value = self._plain[text]
            except KeyError:
                tag = self._loader.resolve(yaml.ScalarNode, text, (True, False))
                value = self._plain[text] = self._construct(index, text, tag)
        elif given:
            value = self._construct(index, text, tag)
        else:
            value = text
        node = ScalarNode(index, text, value)
        self._anchor(event, node)
        self._written += 1
        self._add(node, index)

    def _anchor(self, event: Any, node: Node) -> None:
        if event.anchor is None:
            return
        if event.anchor in self._anchors:
            raise Unreadable(node.index, f"the anchor &{event.anchor} is given twice")
        self._anchors[event.anchor] = node

    def _construct(self, index: int, text: str, tag: str) -> Any:
        name = tag[len(_TAG) :] if tag.startswith(_TAG) else tag
        if name == "str":
            return text
        if name == "merge":
            return _MERGE
        if name == "value":
            raise Unreadable(index, "'=' alone means something in YAML", "put it in quotes")
        if name not in {"null", "bool", "int", "float", "timestamp"}:
            raise Unreadable(index, f"the tag {tag[:60]!r} has no meaning here")
        try:
            if len(text) > MAX_NUMBER_LENGTH:
                raise ValueError
            return getattr(self._loader, f"construct_yaml_{name}")(yaml.ScalarNode(tag, text))
        except (ValueError, OverflowError, LookupError, AttributeError, yaml.YAMLError):
            kind = {"timestamp": "date", "int": "whole number", "float": "number"}.get(name, name)
            raise Unreadable(
                index,
                f"looks like a {kind} but is none: {text[:40]!r}",
                "put it in quotes if it is text",
            ) from None

    def _mapping(self, event: Any) -> None:
        self._start(event, MappingNode(event.start_mark.index), "map")

    def _sequence(self, event: Any) -> None:
        self._start(event, SequenceNode(event.start_mark.index), "seq")

    def _start(self, event: Any, node: SequenceNode | MappingNode, name: str) -> None:
        if event.tag not in (None, "!", _TAG + name):
            raise Unreadable(node.index, f"the tag {event.tag[:60]!r} has no meaning here")
        if len(self._stack) >= MAX_DEPTH:
            raise Unreadable(node.index, f"is nested more than {MAX_DEPTH} levels deep")
        self._anchor(event, node)
        self._open.add(id(node))
        self._written += 1
        self._stack.append(_Frame(node))

    def _sequence_end(self, event: Any) -> None:
        self._close(self._stack.pop())

    def _mapping_end(self, event: Any) -> None:
        frame = self._stack.pop()
        if frame.merges and isinstance(frame.node, MappingNode):
            self._merge(frame.node, frame.merges)
        self._close(frame)

    def _close(self, frame: _Frame) -> None:
        self._open.discard(id(frame.node))
        self._add(frame.node, frame.node.index)

    def _alias(self, event: Any) -> None:
        index = event.start_mark.index
        node = self._anchors.get(event.anchor)
        if node is None:
            raise Unreadable(index, f"the alias *{event.anchor} was not defined before")
        if id(node) in self._open:
            raise Unreadable(index, f"the alias *{event.anchor} lies inside of what it stands for")
        self._spend(index, node.weight)
        self._add(node, index)

    def _spend(self, index: int, values: int) -> None:
        """Keep what aliases stand for within what can be read quickly."""
        self._aliased += values
        if self._aliased > ALIAS_ALLOWANCE + ALIAS_RATIO * self._written:
            raise Unreadable(index, "aliases stand for too many values")

    def _add(self, node: Node, index: int) -> None:
        """Put a finished value, found at ``index``, where it belongs."""
        if not self._stack:
            self._root = _plain_value(node)
            return
        frame = self._stack[-1]
        parent = frame.node
        parent.weight += node.weight
        if node.height >= parent.height:
            parent.height = node.height + 1
            if parent.height > MAX_DEPTH:
                raise Unreadable(index, f"aliases nest more than {MAX_DEPTH} levels deep")
        if isinstance(parent, SequenceNode):
            parent.items.append(_plain_value(node))
        elif frame.key is not None:
            key, frame.key = frame.key, None
            self._enter(frame, parent, key, _plain_value(node))
        elif isinstance(node, ScalarNode):
            frame.key = node
        else:
            raise Unreadable(index, "a list or a mapping cannot be a key")

    def _enter(self, frame: _Frame, parent: MappingNode, key: ScalarNode, value: Node) -> None:
        if key.value is _MERGE:
            frame.merges.append((key, value))
            return
        filed = entry_key(key.value)
        earlier = parent.entries.get(filed)
        if earlier is None:
            parent.entries[filed] = (key, value)
        else:
            self._repeated(key.index, self._path(key.text), earlier[0].index)

    def _path(self, key: str) -> str:
        """The path to ``key`` of the innermost collection that is open."""
        path = ""
        for frame in self._stack[:-1]:
            if isinstance(frame.node, SequenceNode):
                path += f"[{len(frame.node.items)}]"
            elif frame.key is not None:
                path += f".{frame.key.text}" if path else frame.key.text
        return f"{path}.{key}" if path else key

    def _merge(self, node: MappingNode, merges: list[tuple[ScalarNode, Node]]) -> None:
        """Fill in ``<<``: what is written in the mapping itself wins, then the
        last ``<<``, and within one the first of its list."""
        for key, value in reversed(merges):
            sources = value.items if isinstance(value, SequenceNode) else [value]
            for source in sources:
                if not isinstance(source, MappingNode):
                    raise Unreadable(key.index, "'<<' takes a mapping or a list of mappings")
                self._spend(key.index, len(source.entries))
                for filed, entry in source.entries.items():
                    node.entries.setdefault(filed, entry)


def _plain_value(node: Node) -> Node:
    """``<<`` anywhere but as a key is only text."""
    if isinstance(node, ScalarNode) and node.value is _MERGE:
        return ScalarNode(node.index, node.text, node.text)
    return node
