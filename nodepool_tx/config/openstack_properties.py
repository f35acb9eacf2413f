"""The metadata that the servers of a label get."""

from __future__ import annotations

import re
import string

from nodepool_tx.config.document import printable
from nodepool_tx.config.frozen import Frozen, FrozenMapping
from nodepool_tx.config.section import Cursor, Section, suggest
from nodepool_tx.config.tree import MappingNode

__all__ = ["REQUEST_FIELDS", "read_dynamic_properties", "read_properties"]

#: What a property may say about the request its server is made for.
REQUEST_FIELDS = frozenset(
    {
        "id",
        "labels",
        "requestor",
        "requestor_data",
        "relative_priority",
        "event_id",
        "created_time",
        "tenant_name",
    }
)

_FIELD = re.compile(r"request\.(\w+)")


def read_properties(section: Section, key: str) -> FrozenMapping[str, Frozen]:
    """Properties by name; a cloud takes only texts."""
    properties = section.mapping(key) or FrozenMapping()
    for name, place in _entries(section, key):
        if not isinstance(properties.get(name), str):
            place.warning(
                f"OpenStack takes only texts for properties, not {place.describe()}",
                "put it in quotes",
            )
    return properties


def read_dynamic_properties(section: Section, key: str) -> FrozenMapping[str, Frozen]:
    """Properties by name, each to be filled in; what cannot be is left out then."""
    properties = section.mapping(key) or FrozenMapping()
    for name, place in _entries(section, key):
        text = properties.get(name)
        if not isinstance(text, str):
            place.warning(f"must be text to be used, not {place.describe()}", "put it in quotes")
            continue
        trouble, hint = _cannot_fill_in(text)
        if trouble:
            place.warning(f"cannot be filled in and is left out: {trouble}", hint)
    return properties


def _entries(section: Section, key: str) -> list[tuple[str, Cursor]]:
    place = section.at(key)
    if place is None or not isinstance(place.node, MappingNode):
        return []
    return [
        (name.value, place.child(name.text, value))
        for name, value in place.node.entries.values()
        if isinstance(name.value, str)
    ]


def _cannot_fill_in(text: str) -> tuple[str, str | None]:
    """What keeps a text from being filled in, and what to do; or nothing."""
    try:
        fields = [field for _, field, _, _ in string.Formatter().parse(text) if field is not None]
    except ValueError as error:
        return str(error), "a brace that is meant as such is written twice"
    for field in fields:
        found = _FIELD.match(field)
        if found is None and field != "request":
            return f"{{{printable(field)}}} is not known", "only {request.id} and the like"
        if found is not None and found[1] not in REQUEST_FIELDS:
            known = ", ".join(sorted(REQUEST_FIELDS))
            return (
                f"a request has no {printable(found[1])}",
                suggest(found[1], REQUEST_FIELDS) or f"it has {known}",
            )
    return "", None
