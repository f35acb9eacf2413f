"""What the sections of clouds have in common.

Nodepool 11 takes many values that cannot be meant: an empty text, a time below
zero.  A file that it takes is taken here too, so these become warnings and the
nearest value that makes sense is used.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from nodepool_tx.config.document import printable
from nodepool_tx.config.drivers import ReadContext
from nodepool_tx.config.section import Cursor, Section, suggest
from nodepool_tx.config.tree import ScalarNode

__all__ = [
    "IMAGE_KEYS",
    "LAUNCH_KEYS",
    "LIMIT_KEYS",
    "RepeatedNames",
    "connection_fields",
    "find_named",
    "integer_from",
    "launch_fields",
    "limit_fields",
    "number",
    "optional_text",
    "read_label_name",
    "text_list",
]

#: Keys of a provider that launches nodes.
LAUNCH_KEYS = frozenset({"boot-timeout", "launch-timeout", "launch-retries"})

#: Keys of a pool with limits of its own, beside ``max-servers``.
LIMIT_KEYS = frozenset({"max-cores", "max-ram", "max-volumes", "max-volume-gb"})

#: Keys of an image of a provider.
IMAGE_KEYS = frozenset({"name", "config-drive", "connection-type", "connection-port"})

_PORTS = {"ssh": 22, "winrm": 5986}


class RepeatedNames:
    """Reads the names of like things, of which the last one counts.

    Nodepool 11 says nothing about a second one of the same name.

    :param kind: what they name, for messages.
    """

    def __init__(self, kind: str) -> None:
        self._kind = kind
        self._first: dict[str, Cursor] = {}

    def read(self, section: Section) -> str | None:
        """The name of this section; None, and noted, when it has none."""
        place = section.required("name")
        name = None if place is None else place.text()
        if place is None or name is None:
            return None
        first = self._first.setdefault(name, place)
        if first is not place:
            place.warning(
                f"the {self._kind} {printable(name)} is given twice, first in line {first.line}",
                "the last one counts",
            )
        return name


def optional_text(section: Section, key: str, default: str | None = None) -> str | None:
    """A text; an empty one is as good as none."""
    place = section.at(key)
    value = None if place is None else _scalar_value(place)
    if place is not None and isinstance(value, str) and not value.strip():
        place.warning("is empty, so the default applies")
        return default
    return section.text(key, default)


def integer_from(
    section: Section, key: str, default: int, minimum: int, hint: str | None = None
) -> int:
    """A whole number; one below ``minimum`` is taken for ``minimum``."""
    value = section.integer(key, default)
    if value < minimum:
        place = section.at(key) or section.cursor
        place.warning(f"is taken for {minimum}", hint)
        return minimum
    return value


def number(
    place: Cursor, wanted: str = "a number", *, minimum: float = 0.0, maximum: float = math.inf
) -> float | None:
    """A finite number, whole or not; None, and noted, when it is something else."""
    value = _scalar_value(place)
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        place.wrong_type(wanted, "remove the quotes" if _is_number(value) else None)
        return None
    try:
        result = float(value)
    except OverflowError:
        result = math.inf
    if not math.isfinite(result) or not minimum <= result <= maximum:
        up_to = "or more" if maximum == math.inf else f"to {maximum:g}"
        place.error(f"must be {wanted} of {minimum:g} {up_to}")
        return None
    return result


def text_list(section: Section, key: str) -> tuple[str, ...]:
    """A list of texts; empty when there is none."""
    found = (item.text() for item in section.items(key))
    return tuple(text for text in found if text is not None)


def launch_fields(section: Section, *, boot_timeout: int) -> dict[str, Any]:
    """How long a launch of this provider may take, and how often it is tried."""
    hint = "it leaves time for nothing"
    return {
        "boot_timeout": float(integer_from(section, "boot-timeout", boot_timeout, 1, hint)),
        "launch_timeout": float(integer_from(section, "launch-timeout", 3600, 1, hint)),
        "launch_retries": integer_from(
            section, "launch-retries", 3, 1, "it counts the first attempt as well"
        ),
    }


def limit_fields(section: Section) -> dict[str, Any]:
    """Limits of a pool other than ``max-servers``."""
    fields: dict[str, Any] = {}
    for key in sorted(LIMIT_KEYS):
        if section.has(key):
            field = key.replace("-", "_")
            fields[field] = integer_from(section, key, 0, 0, "without the key there is no limit")
    return fields


def connection_fields(section: Section) -> dict[str, Any]:
    """How the nodes made from an image are reached."""
    kind = optional_text(section, "connection-type") or "ssh"
    default = _PORTS.get(kind, 22)
    return {
        "connection_type": kind,
        "connection_port": section.integer("connection-port", default, minimum=1, maximum=65535),
    }


def read_label_name(
    section: Section, context: ReadContext, names: RepeatedNames, *, fatal: bool = True
) -> str | None:
    """The name of a pool's label, which has to be defined at the top.

    :param fatal: False for no more than a warning when it is not.
    """
    name = names.read(section)
    place = section.at("name")
    if name is not None and place is not None:
        context.check_label(place, name, fatal=fatal)
    return name


def find_named(place: Cursor, kind: str, name: str, there_is: Mapping[str, Any]) -> Any:
    """What ``name`` stands for; None, and noted, when it is not there."""
    found = there_is.get(name)
    if found is None:
        hint = None if place.document.problems.full else suggest(name, there_is)
        place.error(f"the {kind} {printable(name)} is not defined", hint)
    return found


def _scalar_value(place: Cursor) -> Any:
    return place.node.value if isinstance(place.node, ScalarNode) else None


def _is_number(value: object) -> bool:
    try:
        return isinstance(value, str) and math.isfinite(float(value))
    except ValueError:
        return False
