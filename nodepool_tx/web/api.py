"""The JSON API's answers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

from twisted.internet.defer import Deferred
from twisted.web.server import Request

from nodepool_tx.history import MINUTES, History
from nodepool_tx.model import NodeState
from nodepool_tx.status.farm import Farm
from nodepool_tx.status.nodes import NodeFilter, matching_nodes, node_status, shown_node
from nodepool_tx.status.providers import gather_provider, provider_names
from nodepool_tx.status.requests import (
    Reasons,
    request_status,
    requests_in_order,
    shown_request,
)
from nodepool_tx.web.answers import NotToBeHad, encode, send_json
from nodepool_tx.web.explanations import Explanations
from nodepool_tx.web.hub import Hub
from nodepool_tx.web.parameters import bad_parameter, text_parameter, whole_parameter
from nodepool_tx.web.slices import send_body, send_slices
from nodepool_tx.web.turns import Turns

__all__ = [
    "DEFAULT",
    "MOST",
    "send_events",
    "send_explanation",
    "send_history",
    "send_node",
    "send_nodes",
    "send_providers",
    "send_request",
    "send_requests",
]

#: Nodes in one answer, without ``limit``.
DEFAULT = 1000

#: Nodes or requests in one answer at the most.
MOST = 10000

#: Minutes of history without ``minutes``.
MINUTES_SHOWN = 240


def send_nodes(request: Request, farm: Farm) -> Deferred[None]:
    """Those that match, by id; ``next`` is what to give as ``after`` for more."""
    state = text_parameter(request, "state")
    if state is not None and state not in {each.value for each in NodeState}:
        raise bad_parameter("state", f"one of {', '.join(each.value for each in NodeState)}")
    wanted = NodeFilter(
        provider=text_parameter(request, "provider"),
        pool=text_parameter(request, "pool"),
        label=text_parameter(request, "label"),
        state=state,
    )
    limit = whole_parameter(request, "limit", DEFAULT, 1, MOST)
    table = farm.store.nodes
    found = matching_nodes(table, wanted, text_parameter(request, "after") or "")
    shown = list(islice(found, limit))
    following = shown[-1].id if next(found, None) is not None else None
    pieces = (encode(node_status(node, table.is_locked(node.id))) for node in shown)
    return _send_long(request, farm, "nodes", pieces, {"next": following})


def send_node(request: Request, farm: Farm, node_id: str) -> bytes:
    """One node."""
    found = shown_node(farm, node_id)
    if found is None:
        raise NotToBeHad(404, "not found", f"there is no node {node_id}")
    return send_json(request, found)


def send_requests(request: Request, farm: Farm) -> Deferred[None]:
    """All requests, in the order of the queue."""
    limit = whole_parameter(request, "limit", MOST, 1, MOST)
    after = text_parameter(request, "after")
    everything = list(requests_in_order(farm.store.requests))
    begin = 0
    if after is not None:
        places = [place for place, each in enumerate(everything) if each.id == after]
        if not places:
            raise NotToBeHad(404, "not found", "after: there is no such request any more")
        begin = places[0] + 1
    shown = everything[begin : begin + limit]
    following = shown[-1].id if len(everything) > begin + limit else None
    reasons = Reasons(farm)
    pieces = (encode(request_status(each, farm.now, reasons)) for each in shown)
    return _send_long(request, farm, "requests", pieces, {"next": following})


def send_request(request: Request, farm: Farm, request_id: str) -> bytes:
    """One request."""
    found = shown_request(farm, request_id)
    if found is None:
        raise NotToBeHad(404, "not found", f"there is no request {request_id}")
    return send_json(request, found)


async def send_providers(request: Request, farm: Farm) -> bytes | None:
    """All providers; those with very many hosts in several turns."""
    turns = Turns(farm.clock)
    pieces: list[bytes] = []
    for name in sorted(provider_names(farm)):
        status = await gather_provider(farm, name, turns.breathe)
        await turns.breathe()
        if status is not None:
            pieces.append(encode(status))
        await turns.breathe()
    return await send_body(
        request, farm.clock, b'{"providers":[%s]}' % b",".join(pieces), "application/json"
    )


async def send_explanation(
    request: Request, explanations: Explanations | None, request_id: str
) -> bytes:
    """Why a request waits, pool by pool."""
    if explanations is None:
        raise NotToBeHad(404, "not configured", "explanations: this launcher offers none")
    return send_json(request, await explanations.of(request_id))


def send_history(request: Request, history: History) -> bytes:
    """What happened in the last ``minutes``."""
    minutes = whole_parameter(request, "minutes", MINUTES_SHOWN, 1, MINUTES)
    return send_json(request, history.last(minutes))


def send_events(request: Request, hub: Hub) -> Deferred[None] | bytes:
    """A stream of what happens from now on, of the ``topics`` named."""
    text = text_parameter(request, "topics")
    topics = frozenset(hub.topics if text is None else text.split(","))
    unknown = sorted(topics - {*hub.topics})
    if unknown:
        raise bad_parameter("topics", f"a list of {', '.join(hub.topics)}, with commas")
    if request.method == b"HEAD":
        request.setHeader("Content-Type", "text/event-stream; charset=utf-8")
        return b""
    missed = request.getHeader(b"last-event-id") is not None
    return hub.listen(request, topics, missed)


def _send_long(
    request: Request,
    farm: Farm,
    name: str,
    pieces: Iterable[bytes],
    rest: dict[str, Any],
) -> Deferred[None]:
    """An object with one long list and a few more values."""
    request.setHeader("Content-Type", "application/json")
    request.setHeader("Cache-Control", "no-store")
    return send_slices(request, farm.clock, _object(name, pieces, rest))


def _object(name: str, pieces: Iterable[bytes], rest: dict[str, Any]) -> Iterator[bytes]:
    yield b'{"%s":[' % name.encode()
    comma = b""
    for piece in pieces:
        yield comma + piece
        comma = b","
    yield b"]," + encode(rest)[1:]
