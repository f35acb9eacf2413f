"""What the simulated cloud's services have in common as services: calls and pages."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlencode

import attrs

from nodepool_tx.providers.fake.rules import Refused
from nodepool_tx.providers.openstack.transport import Answer

__all__ = ["ENDPOINTS", "Call", "Handler", "members", "page"]

T = TypeVar("T")

#: Where each service seems to be.
ENDPOINTS: Mapping[str, str] = {
    "compute": "http://simulated.invalid/compute/v2.1",
    "network": "http://simulated.invalid/networking/v2.0",
    "image": "http://simulated.invalid/image/v2",
    "block-storage": "http://simulated.invalid/volume/v3",
}


@attrs.frozen
class Call:
    """One call of a service.

    :ivar path: its parts, without the service's own address.
    :ivar version: the micro-version's second part; 1 where none was asked for.
    """

    method: str
    path: tuple[str, ...]
    query: Mapping[str, str]
    body: Any = None
    file: Path | None = None
    version: int = 1

    def content(self, key: str) -> dict[str, Any]:
        """The object of that name which the body consists of."""
        inner = self.body.get(key) if isinstance(self.body, dict) else None
        if not isinstance(inner, dict):
            raise Refused(400, f"the body has no {key}", "HTTPBadRequest")
        return inner

    def number(self, key: str) -> int | None:
        """A number out of the query."""
        value = self.query.get(key)
        if value is None:
            return None
        if not value.isdigit():
            raise Refused(400, f"{key} is {value!r}, which is no number")
        return int(value)


Handler = Callable[[Call], Answer]


def page(
    call: Call, things: Sequence[T], most: int, identify: Callable[[T], str]
) -> tuple[Sequence[T], str | None]:
    """The part of a listing that a call asks for, and the query for the next part.

    :param most: how many a part has at most.
    """
    start = 0
    marker = call.query.get("marker")
    if marker is not None:
        place = next((n for n, thing in enumerate(things) if identify(thing) == marker), None)
        if place is None:
            raise Refused(400, f"the marker {marker} is not found")
        start = place + 1
    asked = call.number("limit")
    limit = most if asked is None else min(asked, most)
    part = things[start : start + limit]
    # A page that is full has a next one, which may be empty.
    if not part or len(part) < limit:
        return part, None
    query = {**call.query, "limit": str(limit), "marker": identify(part[-1])}
    return part, urlencode(query)


def members(call: Call, things: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Those things that have the values which the query names."""
    wanted = {k: v for k, v in call.query.items() if k not in ("limit", "marker", "fields")}
    if not wanted:
        return list(things)
    return [
        thing
        for thing in things
        if all(_as_text(thing.get(key)) == value.lower() for key, value in wanted.items())
    ]


def _as_text(value: Any) -> str:
    return "" if value is None else str(value).lower()
