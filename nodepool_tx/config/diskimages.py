"""Disk images, and what they inherit from each other."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs

from nodepool_tx.config.document import printable
from nodepool_tx.config.frozen import FrozenMapping
from nodepool_tx.config.names import UniqueNames
from nodepool_tx.config.schema import DiskImage
from nodepool_tx.config.section import Cursor, Section, suggest
from nodepool_tx.config.tree import MappingNode, ScalarNode

__all__ = ["DiskImages", "read_diskimages", "read_env_vars"]

#: The longest line of parents; nobody needs more, and reading stays quick.
MAX_PARENTS = 32

_MISNOMERS = {"base": "did you mean parent?", "image-types": "did you mean formats?"}


def _text(section: Section, key: str) -> str | None:
    return section.text(key, None)


def _positive(section: Section, key: str) -> int | None:
    return section.integer(key, None, minimum=1, hint="without the key the default applies")


def _flag(section: Section, key: str) -> bool | None:
    return section.boolean(key, False) if section.has(key) else None


def _texts(section: Section, key: str) -> tuple[str, ...] | None:
    if not section.has(key):
        return None
    found = (item.text() for item in section.items(key))
    return tuple(text for text in found if text is not None)


def _release(section: Section, key: str) -> str | None:
    """Text for disk-image-create, that may be written as a whole number."""
    place = section.at(key)
    if place is None:
        return None
    if isinstance(place.node, ScalarNode) and type(place.node.value) is int:
        return str(place.node.value)
    return place.text()


def _metadata(section: Section, key: str) -> FrozenMapping[str, Any] | None:
    return section.mapping(key)


def read_env_vars(section: Section, key: str = "env-vars") -> dict[str, str] | None:
    """Environment variables: texts by name; None when there are none."""
    place = section.at(key)
    if place is None:
        return None
    if not isinstance(place.node, MappingNode):
        place.wrong_type("a mapping of names to texts")
        return None
    found: dict[str, str] = {}
    for name, value in place.node.entries.values():
        below = place.child(name.text, value)
        label = place.child(name.text, name).word("the name of a variable")
        if label is None:
            continue
        if isinstance(value, ScalarNode) and value.value == "":
            found[label] = ""
            continue
        text = below.text()
        if text is not None:
            found[label] = text
    return found


#: Key in the file, field of :class:`DiskImage`, how it is read.
_READERS: dict[str, tuple[str, Callable[[Section, str], Any]]] = {
    "elements": ("elements", _texts),
    "env-vars": ("env_vars", read_env_vars),
    "formats": ("formats", _texts),
    "keep-formats": ("keep_formats", _texts),
    "delete-after-upload": ("delete_after_upload", _flag),
    "pause": ("pause", _flag),
    "release": ("release", _release),
    "rebuild-age": ("rebuild_age", _positive),
    "build-timeout": ("build_timeout", _positive),
    "dib-cmd": ("dib_cmd", _text),
    "username": ("username", _text),
    "python-path": ("python_path", _text),
    "shell-type": ("shell_type", _text),
    "metadata": ("metadata", _metadata),
}
_KEYS = frozenset(_READERS) | {"name", "abstract", "parent"}


@attrs.frozen
class _Entry:
    """One entry as written, before inheritance."""

    name: str
    abstract: bool
    parent: str | None
    parent_place: Cursor | None
    fields: dict[str, Any]


@attrs.frozen
class DiskImages:
    """What was read.

    :ivar images: those to be built, by name.
    :ivar names: of all entries, abstract ones included.
    """

    images: dict[str, DiskImage]
    names: frozenset[str]


def read_diskimages(places: list[Cursor]) -> DiskImages:
    """Read all entries, then fill in what each inherits."""
    unique = UniqueNames("diskimage", slashes=False)
    entries: dict[str, _Entry] = {}
    for place in places:
        section = place.section("a disk image", _KEYS, _MISNOMERS)
        if section is None:
            continue
        name = unique.read(section)
        entry = _Entry(
            name=name or "",
            abstract=section.boolean("abstract", False),
            parent=section.text("parent", None),
            parent_place=section.at("parent"),
            fields={
                field: value
                for key, (field, read) in _READERS.items()
                if (value := read(section, key)) is not None
            },
        )
        if name is not None:
            entries.setdefault(name, entry)
    lines = {name: _lineage(entry, entries) for name, entry in entries.items()}
    images = {
        name: _inherit(name, lines[name]) for name, entry in entries.items() if not entry.abstract
    }
    return DiskImages(images, frozenset(entries))


def _lineage(entry: _Entry, entries: dict[str, _Entry]) -> list[_Entry]:
    """The entry and its ancestors, the oldest first."""
    line = [entry]
    while line[-1].parent is not None:
        last = line[-1]
        parent = entries.get(last.parent or "")
        if parent is None:
            if last is entry and last.parent_place is not None:
                last.parent_place.error(
                    f"the parent {printable(last.parent or '')} is not defined",
                    suggest(last.parent or "", entries),
                )
            break
        if parent is entry and entry.parent_place is not None:
            chain = " -> ".join([*(one.name for one in line), entry.name])
            entry.parent_place.error(f"inherits from itself: {printable(chain, 200)}")
        elif len(line) > MAX_PARENTS and entry.parent_place is not None:
            entry.parent_place.error(f"has more than {MAX_PARENTS} parents, one above the other")
        if any(parent is one for one in line) or len(line) > MAX_PARENTS:
            break
        line.append(parent)
    line.reverse()
    return line


def _inherit(name: str, lineage: list[_Entry]) -> DiskImage:
    """Elements add up, variables update each other, the rest overrides."""
    merged: dict[str, Any] = {}
    for entry in lineage:
        for field, value in entry.fields.items():
            if field == "elements":
                merged[field] = merged.get(field, ()) + value
            elif field == "env_vars":
                merged[field] = merged.get(field, {}) | value
            else:
                merged[field] = value
    merged["env_vars"] = FrozenMapping(merged.get("env_vars", {}))
    for field in ("formats", "keep_formats"):
        merged[field] = frozenset(merged.get(field, ()))
    return DiskImage(name=name, **merged)
