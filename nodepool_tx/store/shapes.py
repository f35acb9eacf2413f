"""How JSON objects become the fields of records, and records JSON.

A launcher reads two records and writes three for each job, so both ways are made for
speed: what is None, as most of a record's forty fields are, is not looked at twice,
and what is written is put into a form made once.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from json.encoder import encode_basestring_ascii
from operator import attrgetter
from typing import Any

import attrs

__all__ = [
    "EMPTY",
    "LARGEST",
    "Check",
    "Shape",
    "Unreadable",
    "amounts",
    "anything",
    "formats",
    "mapping",
    "name",
    "number",
    "read_fields",
    "read_object",
    "shared",
    "slot",
    "text",
    "texts",
    "whole_seconds",
    "writer",
]

#: The reason given for a znode without any data.
EMPTY = "the znode is empty"


class Unreadable(ValueError):
    """The data of a znode is not what should be there."""


Check = Callable[[Any], Any]

_parse_text = json.JSONDecoder().raw_decode


# -- what may be in a field; all raise Unreadable


def _parse(data: bytes) -> Any:
    """As ``json.loads``, which looks for other encodings and for space first."""
    try:
        text = data.decode()
        value, end = _parse_text(text)
    except ValueError:
        return json.loads(data)
    return value if end == len(text) else json.loads(data)


def read_object(data: bytes) -> dict[str, Any]:
    if not data:
        raise Unreadable(EMPTY)
    try:
        value = _parse(data)
    except (ValueError, RecursionError) as e:
        raise Unreadable(f"not JSON: {e}") from None
    if not isinstance(value, dict):
        raise Unreadable(f"expected a JSON object, found {type(value).__name__}")
    return value


#: Numbers beyond this are no time, amount or priority.
LARGEST = 1e300


def number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise Unreadable(f"expected a number, found {value!r:.60}")
    # JSON knows no bounds, and Python reads NaN and Infinity; nothing can be
    # compared or added up with those.
    if not -LARGEST < value < LARGEST:
        raise Unreadable(f"expected a finite number, found {value!r:.60}")
    return value


def text(value: Any) -> str:
    if not isinstance(value, str):
        raise Unreadable(f"expected a string, found {value!r:.60}")
    return value


def name(value: Any) -> str:
    """Text that many records have in common, and that is kept once."""
    return sys.intern(value) if isinstance(value, str) else text(value)


def anything(value: Any) -> Any:
    return value


def shared(value: Any) -> Any:
    """Anything; text is kept once."""
    return sys.intern(value) if isinstance(value, str) else value


def texts(value: Any) -> tuple[str, ...]:
    """A list of strings; one string and nothing at all are lists too."""
    if not value:
        return ()
    if isinstance(value, str):
        return (sys.intern(value),)
    if not isinstance(value, list):
        raise Unreadable(f"expected a list, found {value!r:.60}")
    return tuple([sys.intern(text(item)) for item in value])


_NOTHING: Mapping[str, Any] = {}


def mapping(value: Any) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise Unreadable(f"expected an object, found {value!r:.60}")
    return value or _NOTHING


def amounts(value: Any) -> Mapping[str, float]:
    return {key: number(amount) for key, amount in mapping(value).items()}


def whole_seconds(value: Any) -> int:
    """Hold times were typed by people; what is no number means no limit."""
    try:
        return int(value)
    except (TypeError, ValueError, OverflowError):
        return 0


def slot(value: Any) -> int:
    return int(number(value))


def formats(value: Any) -> tuple[str, ...]:
    """In one string, with commas between them, in no order."""
    return tuple(sorted(text(value).split(","))) if value else ()


# -- records


@attrs.frozen
class Shape:
    """How the fields of a record are read and written.

    :ivar checks: make of a JSON value what the record holds, by key, in the order in
        which the keys are written.
    :ivar not_none: keys whose checks see None, too, and refuse it or make something of it.
    :ivar aliases: keys that are written for old clients, with those of the same value.
    """

    checks: Mapping[str, Check]
    not_none: frozenset[str] = frozenset()
    aliases: Mapping[str, str] = attrs.field(factory=dict)


def read_fields(raw: dict[str, Any], shape: Shape) -> dict[str, Any]:
    """The fields of a record, checked, from a JSON object; what is unknown is in ``extra``."""
    found: dict[str, Any] = {}
    extra: dict[str, Any] = {}
    checks, not_none = shape.checks, shape.not_none
    key = ""
    try:
        for key, value in raw.items():
            check = checks.get(key)
            if check is None:
                if key not in shape.aliases:
                    extra[key] = value
            elif value is None and key not in not_none:
                found[key] = None
            else:
                found[key] = check(value)
    except Unreadable as e:
        raise Unreadable(f"{key}: {e}") from None
    if extra:
        found["extra"] = extra
    return found


# -- writing

#: Writes what comes from JSON: there are no circles to look for in that.
_general_json = json.JSONEncoder(check_circular=False).encode


def _json_of_float(value: float) -> str:
    return repr(value) if -LARGEST < value < LARGEST else _general_json(value)


def _json_of_tuple(values: tuple[Any, ...]) -> str:
    try:
        return f"[{', '.join(map(encode_basestring_ascii, values))}]"
    except TypeError:
        # There is something else than text in it.
        return _general_json(values)


def _json_of_object(value: dict[str, Any]) -> str:
    return _general_json(value) if value else "{}"


#: What ``json.dumps`` says, sooner for the values that records are full of.
_JSON: Mapping[type, Callable[[Any], str]] = {
    str: encode_basestring_ascii,
    int: int.__repr__,
    float: _json_of_float,
    tuple: _json_of_tuple,
    bool: lambda value: "true" if value else "false",
    dict: _json_of_object,
}


def writer(shape: Shape) -> Callable[[Any], bytes]:
    """What writes records of a shape."""
    names = (*shape.checks, *shape.aliases)
    values = attrgetter(*shape.checks, *shape.aliases.values())
    json_of = _JSON.get
    #: Keys, and after each the place for its value; last what is not known here.
    form = [part for name in names for part in (f', "{name}": ', "")] + [""]
    form[0] = "{" + form[0].removeprefix(", ")

    def write(record: Any) -> bytes:
        extra = record.extra
        if extra and not extra.keys().isdisjoint(names):
            known = dict(zip(names, values(record), strict=True))
            return _general_json({**known, **extra}).encode()
        filled = form.copy()
        filled[1::2] = [
            "null" if value is None else json_of(type(value), _general_json)(value)
            for value in values(record)
        ]
        filled[-1] = f", {_general_json({**extra})[1:]}" if extra else "}"
        return "".join(filled).encode()

    return write
