"""Nodepool 11's lists: its paths, its text and its JSON, kept for a second.

Design note: ten thousand nodes
-------------------------------
A list of all of them takes the better part of a second to draw.  It is made in
short turns of the reactor, once for everybody who asks in the same second, and
sent no faster than it is read.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from email.utils import formatdate
from itertools import islice
from typing import Any

import attrs
from twisted.internet.defer import Deferred, DeferredSemaphore
from twisted.web.http import CACHED
from twisted.web.server import Request

from nodepool_tx.reports.lists import label_report, node_report, request_report
from nodepool_tx.reports.report import Report
from nodepool_tx.reports.table import Table
from nodepool_tx.status.farm import Farm
from nodepool_tx.status.images import build_list, image_status_list, upload_list
from nodepool_tx.web.answers import NotToBeHad
from nodepool_tx.web.negotiation import best_offer
from nodepool_tx.web.parameters import text_parameter
from nodepool_tx.web.slices import send_body
from nodepool_tx.web.turns import Turns
from nodepool_tx.work import shielded

__all__ = ["LISTS", "Lists"]

#: Seconds for which an answer is good.
MAX_AGE = 1

#: Rows made in one go.
CHUNK = 50

#: What a list can be had as, the form for browsers and everybody else first.
OFFERS = ("text/html", "text/plain", "application/json")

#: Bytes of answers that are kept.
MOST_KEPT = 16 * 1024 * 1024

#: Answers made at the same time.
MOST_MADE = 2

_Reports = Callable[[Farm, "str | None"], Iterator[Report]]


@attrs.frozen
class _Answer:
    body: bytes
    etag: str
    made: float


def _in_chunks(items: Iterable[Any], report: Callable[[list[Any]], Report]) -> Iterator[Report]:
    """Reports of a few rows each; at least one, for the headers."""
    rest = iter(items)
    chunk = list(islice(rest, CHUNK))
    yield report(chunk)
    while chunk := list(islice(rest, CHUNK)):
        yield report(chunk)


def _nodes(farm: Farm, node_id: str | None) -> Iterator[Report]:
    table, now = farm.store.nodes, farm.now
    if node_id:
        node = table.get(node_id)
        nodes = [] if node is None else [node]
    else:
        nodes = sorted(table, key=lambda node: node.id)
    return _in_chunks(nodes, lambda chunk: node_report(chunk, table.is_locked, now, detail=True))


def _requests(farm: Farm, _: str | None) -> Iterator[Report]:
    requests = sorted(farm.store.requests, key=lambda request: request.sort_key)
    return _in_chunks(requests, request_report)


def _one(report: Callable[[Farm], Report]) -> _Reports:
    return lambda farm, _: iter((report(farm),))


#: By path.
LISTS: dict[str, _Reports] = {
    "/image-list": _one(upload_list),
    "/dib-image-list": _one(build_list),
    "/image-status": _one(image_status_list),
    "/node-list": _nodes,
    "/request-list": _requests,
    "/label-list": _one(lambda farm: label_report(farm.store.components.pools())),
}


class Lists:
    """Answers for the lists."""

    def __init__(self, farm: Farm) -> None:
        self._farm = farm
        self._kept: dict[tuple[Any, ...], _Answer] = {}
        self._being_made: dict[tuple[Any, ...], Deferred[_Answer]] = {}
        self._workers = DeferredSemaphore(MOST_MADE)

    async def send(self, request: Request, path: str) -> bytes | None:
        """Answer with the list of this path.

        :raises NotToBeHad: there is no form of it that the client takes.
        """
        request.setHeader("Access-Control-Allow-Origin", "*")
        request.setHeader("Vary", "Accept")
        # Of bytes, as a stranger's header need not be text.
        accept = request.getHeader(b"accept")
        form = best_offer(None if accept is None else accept.decode("latin-1"), OFFERS)
        if form is None:
            raise NotToBeHad(406, "not acceptable", f"there is {', '.join(OFFERS)}")
        fields = tuple(sorted(filter(None, (text_parameter(request, "fields") or "").split(","))))
        node_id = text_parameter(request, "node_id") if path == "/node-list" else None
        as_json = form == "application/json"
        # Its JSON has all the keys, whatever fields say.
        answer = await self._get((path, as_json, () if as_json else fields, node_id))
        content_type = "application/json" if as_json else "text/plain; charset=UTF-8"
        return await self._send(request, answer, content_type)

    async def _send(self, request: Request, answer: _Answer, content_type: str) -> bytes | None:
        request.setHeader("Content-Type", content_type)
        request.setHeader("Cache-Control", f"public, max-age={MAX_AGE}")
        request.setHeader("Expires", formatdate(answer.made + MAX_AGE, usegmt=True))
        unchanged = request.setETag(answer.etag.encode()) is CACHED
        # Whoever names a tag is not asked about the time (RFC 9110, 13.2.2).
        if request.getHeader(b"if-none-match") is None:
            unchanged = request.setLastModified(answer.made) is CACHED or unchanged
        else:
            request.setHeader("Last-Modified", formatdate(int(answer.made), usegmt=True))
        if unchanged:
            return b""
        return await send_body(request, self._farm.clock, answer.body, content_type)

    async def _get(self, key: tuple[Any, ...]) -> _Answer:
        """The answer, at most a second old; made once for all who wait for it."""
        now = self._farm.now
        self._kept = {k: a for k, a in self._kept.items() if a.made <= now < a.made + MAX_AGE}
        if key in self._kept:
            return self._kept[key]
        making = self._being_made.get(key)
        if making is None:
            making = Deferred.fromCoroutine(self._make(key))
            if not making.called:
                self._being_made[key] = making
        return await shielded(making)

    async def _make(self, key: tuple[Any, ...]) -> _Answer:
        path, as_json, fields, node_id = key
        turn = await self._workers.acquire()
        now = self._farm.now
        try:
            reports = LISTS[path](self._farm, node_id)
            draw = _json if as_json else _table
            text = "".join(await Turns(self._farm.clock).gather(draw(reports, fields)))
        finally:
            self._being_made.pop(key, None)
            turn.release()
        body = text.encode("utf-8", "backslashreplace")
        answer = _Answer(body, f'"{hashlib.sha256(body).hexdigest()[:32]}"', now)
        if len(body) + sum(len(each.body) for each in self._kept.values()) <= MOST_KEPT:
            self._kept[key] = answer
        return answer


def _json(reports: Iterable[Report], _: Sequence[str]) -> Iterator[str]:
    """Nodepool 11's, put together from parts."""
    comma = "["
    for report in reports:
        rows = report.as_reference_json()[1:-1]
        if rows:
            yield comma + rows
            comma = ", "
    yield "[]" if comma == "[" else "]"


def _table(reports: Iterable[Report], fields: Sequence[str]) -> Iterator[str]:
    """A table over all of them, whose widths are known when all rows are."""
    table: Table | None = None
    for report in reports:
        if table is None:
            table = Table(report.headers(fields))
        for row in report.cells(fields):
            table.add(row)
        yield ""
    assert table is not None
    lines = table.lines()
    end = ""
    while chunk := list(islice(lines, CHUNK)):
        yield end + "\n".join(chunk)
        end = "\n"
