"""Listings that come in pages.

Of a link to the next page only the query is used, with the path that was asked
first: behind a proxy links often name a host or a scheme that does not lead
back to the service, and a token must not follow them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from nodepool_tx.providers.cloud.errors import CloudError
from nodepool_tx.providers.openstack.calls import Calls, checked, part
from nodepool_tx.providers.openstack.transport import Answer

__all__ = ["everything", "next_query"]

#: A page begins after a thing; when that is deleted meanwhile, we begin again.
_BEGINNINGS = 3


async def everything(
    calls: Calls,
    doing: str,
    service: str,
    path: str,
    key: str,
    *,
    query: Mapping[str, str] | None = None,
    version: str | None = None,
    timeout: float = 60.0,
) -> list[dict[str, Any]]:
    """All pages of a listing; each thing once.

    :param key: where the things are in an answer, such as ``servers``.
    :raises CloudError: the pages do not come to an end, and all that a single
        request raises.
    """
    for _ in range(_BEGINNINGS):
        found: dict[Any, dict[str, Any]] = {}
        asked: dict[str, str] | None = dict(query or {})
        first = dict(query or {})
        seen: list[dict[str, str]] = []
        while asked is not None:
            seen.append(asked)
            answer = await calls.transport.request(
                service, "GET", path, query=asked, version=version, timeout=timeout
            )
            if asked != first and answer.status in (400, 404):
                break
            page = part(doing, checked(doing, answer), key)
            for number, thing in enumerate(page):
                found[thing.get("id", (len(seen), number))] = thing
            asked = next_query(answer, key, first) if page else None
            if asked in seen:
                raise CloudError(f"could not {doing}: its pages do not come to an end")
        else:
            return list(found.values())
    raise CloudError(f"could not {doing}: it changed too often while it was read")


def next_query(answer: Answer, key: str, first: Mapping[str, str]) -> dict[str, str] | None:
    """The query of the next page; None after the last.

    Nova, Neutron and Cinder have a list of links beside the things, Glance
    has one link, and some services behind a gateway only have the header.
    """
    link = None
    if isinstance(answer.body, Mapping):
        for entry in answer.body.get(f"{key}_links") or ():
            if entry.get("rel") == "next":
                link = entry.get("href")
        link = link or answer.body.get("next")
    if not link:
        for entry in answer.headers.get("link", "").split(","):
            address, _, relation = entry.partition(";")
            if relation.replace('"', "").strip() == "rel=next":
                link = address.strip().strip("<>")
    if not link:
        return None
    return {**first, **dict(parse_qsl(urlsplit(link).query))}
