"""Reading what people send: JSON objects with nothing in them but what is known."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from typing import Any

from twisted.web.server import Request

from nodepool_tx.leases.desk import Wish
from nodepool_tx.leases.plan import LONGEST_TTL
from nodepool_tx.web.answers import NotToBeHad

__all__ = [
    "LONGEST_COMMENT",
    "LONGEST_KEY",
    "LONGEST_LABEL",
    "MOST_LABELS",
    "read_ttl",
    "read_wish",
]

MOST_LABELS = 50
LONGEST_LABEL = 255
LONGEST_COMMENT = 500
LONGEST_KEY = 200
PRIORITIES = (0, 999)


def read_wish(request: Request) -> Wish:
    """What somebody asks for.

    :raises NotToBeHad: it is not JSON (415, 400), or there is something wrong with it.
    """
    raw = _object(request, ("labels", "ttl", "priority", "comment", "key"))
    if "labels" not in raw:
        raise _bad("labels", "is missing")
    return Wish(
        labels=_labels(raw["labels"]),
        ttl=_ttl(raw),
        priority=_priority(raw.get("priority", 100)),
        comment=_text(raw, "comment", LONGEST_COMMENT),
        key=_text(raw, "key", LONGEST_KEY),
    )


def read_ttl(request: Request) -> float | None:
    """For how long somebody wants a lease renewed; None if they do not say.

    :raises NotToBeHad: it is not JSON (415, 400), or there is something wrong with it.
    """
    if not _body(request):
        return None
    return _ttl(_object(request, ("ttl",)))


def _body(request: Request) -> bytes:
    if request.content is None:
        return b""
    request.content.seek(0)
    body: bytes = request.content.read()
    return body


def _object(request: Request, known: Iterable[str]) -> dict[str, Any]:
    kind = request.requestHeaders.getRawHeaders(b"content-type") or [b""]
    media, _, parameters = kind[0].decode("latin-1").lower().partition(";")
    charset = parameters.replace(" ", "").replace('"', "")
    if len(kind) != 1 or media.strip() != "application/json":
        raise NotToBeHad(415, "unsupported media type", "the body must be application/json")
    if charset not in ("", "charset=utf-8") or request.requestHeaders.hasHeader("content-encoding"):
        raise NotToBeHad(415, "unsupported media type", "the body must be plain UTF-8")
    try:
        value = json.loads(
            _body(request).decode("utf-8"),
            parse_constant=_no_number,
            object_pairs_hook=_pairs,
        )
    except NotToBeHad:
        raise
    except (ValueError, RecursionError):
        raise NotToBeHad(400, "bad body", "it is not JSON") from None
    if not isinstance(value, dict):
        raise NotToBeHad(400, "bad body", "it is not an object")
    unknown = sorted(value.keys() - set(known))
    if unknown:
        shown = ", ".join(_shown(key) for key in unknown[:5])
        raise NotToBeHad(400, "bad body", f"unknown keys: {shown}")
    return value


def _no_number(text: str) -> float:
    raise ValueError(text)


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key is given more than once")
    return found


def _labels(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or not 1 <= len(value) <= MOST_LABELS:
        raise _bad("labels", f"must be a list of 1 to {MOST_LABELS} labels")
    for label in value:
        if not isinstance(label, str) or not 1 <= len(label) <= LONGEST_LABEL:
            raise _bad("labels", f"a label is a text of 1 to {LONGEST_LABEL} characters")
        _check_printable("labels", label)
    return tuple(value)


def _ttl(raw: dict[str, Any]) -> float | None:
    if "ttl" not in raw:
        return None
    value = raw["ttl"]
    plain = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not (plain and 1 <= value <= LONGEST_TTL and math.isfinite(value)):
        raise _bad("ttl", f"must be a number of seconds from 1 to {LONGEST_TTL:.0f}")
    return float(value)


def _priority(value: Any) -> int:
    least, most = PRIORITIES
    if isinstance(value, float) and value.is_integer():
        # To JSON it is the same.
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise _bad("priority", f"must be a whole number from {least} to {most}")
    return value


def _text(raw: dict[str, Any], key: str, longest: int) -> str:
    value = raw.get(key, "")
    if not isinstance(value, str) or len(value) > longest:
        raise _bad(key, f"must be a text of at most {longest} characters")
    _check_printable(key, value)
    return value


def _check_printable(key: str, text: str) -> None:
    """Nothing that steers a terminal, ends a line, or cannot be encoded."""
    if not text.isprintable():
        raise _bad(key, "has characters that cannot be printed")


def _bad(key: str, problem: str) -> NotToBeHad:
    return NotToBeHad(400, "bad body", f"{key}: {problem}")


def _shown(key: str) -> str:
    return "".join(letter if letter.isprintable() else "?" for letter in key[:40])
