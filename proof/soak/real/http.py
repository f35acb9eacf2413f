"""Somebody who looks at a launcher over HTTP: follows it, scrapes it, borrows nodes of it."""

from __future__ import annotations

import json
from io import BytesIO
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.web.client import Agent, FileBodyProducer, HTTPConnectionPool
from twisted.web.http_headers import Headers
from twisted.web.iweb import IResponse

__all__ = ["Visitor"]

#: Seconds for an answer.
_PATIENCE = 60.0


class _Body(Protocol):
    """Takes in what is sent until it ends.

    :ivar received: how many bytes came.
    :ivar ended: fires with them, if they were to be kept.
    """

    def __init__(self, kept: bool) -> None:
        self._kept = kept
        self._data: list[bytes] = []
        self.received = 0
        self.ended: Deferred[bytes] = Deferred()

    def dataReceived(self, data: bytes) -> None:
        self.received += len(data)
        if self._kept:
            self._data.append(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.ended.callback(b"".join(self._data))


class Visitor:
    """A client of one launcher's port on loopback.

    :ivar streamed: bytes of events that were read.
    :ivar streams: how often the stream was begun.
    """

    def __init__(self, reactor: Any, port: int, token: str) -> None:
        self._reactor = reactor
        self._base = f"http://127.0.0.1:{port}"
        self._authorization = f"Bearer {token}"
        self._pool = HTTPConnectionPool(reactor, persistent=False)
        self._agent = Agent(reactor, pool=self._pool)
        self._stream: _Body | None = None
        self._stopped = False
        self._streamed = 0
        self.streams = 0

    @property
    def streamed(self) -> int:
        return self._streamed + (self._stream.received if self._stream is not None else 0)

    async def metrics(self) -> str:
        """All numbers, as Prometheus gets them."""
        _, body = await self._ask("GET", "/metrics")
        return body.decode()

    async def borrow(self, label: str) -> str:
        """A lease of a node, renewed and given back; what became of it.

        A launcher that has no connection to ZooKeeper says so, and what it was asked for is not
        done; a lease that nobody renews ends by itself.
        """
        status, lease = await self._json("POST", "/api/requests", {"labels": [label], "ttl": 30})
        if status != 201:
            return f"asked in vain ({status})"
        path = f"/api/leases/{lease['id']}"
        status, lease = await self._json("GET", f"{path}?wait=20")
        if (status, lease.get("state")) == (200, "ready"):
            status, _ = await self._json("POST", f"{path}/renew", {"ttl": 60})
        ended, _ = await self._json("DELETE", path)
        return "served" if (status, ended) == (200, 200) else f"interrupted ({status}, {ended})"

    async def connect(self) -> None:
        """Begin a stream of events that nobody ends but the launcher."""
        response = await self._request("GET", "/api/events")
        stream = _Body(kept=False)
        response.deliverBody(stream)
        await stream.ended

    async def follow(self) -> None:
        """Read the stream of events until :meth:`stop`, anew whenever it ends."""
        while not self._stopped:
            response = await self._request("GET", "/api/events")
            self._stream = _Body(kept=False)
            self.streams += 1
            response.deliverBody(self._stream)
            await self._stream.ended
            self._streamed += self._stream.received
            self._stream = None

    async def stop(self) -> None:
        """Follow no more; the connection is to be closed by the launcher's end."""
        self._stopped = True
        if self._stream is not None:
            await self._stream.ended

    async def _json(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        status, answer = await self._ask(method, path, body)
        return status, json.loads(answer)

    async def _ask(self, method: str, path: str, body: Any = None) -> tuple[int, bytes]:
        response = await self._request(method, path, body)
        content = _Body(kept=True)
        response.deliverBody(content)
        content.ended.addTimeout(_PATIENCE, self._reactor)
        return response.code, await content.ended

    async def _request(self, method: str, path: str, body: Any = None) -> IResponse:
        headers = Headers({"Authorization": [self._authorization]})
        producer = None
        if body is not None:
            headers.addRawHeader("Content-Type", "application/json")
            producer = FileBodyProducer(BytesIO(json.dumps(body).encode()))
        url = f"{self._base}{path}".encode()
        asking = self._agent.request(method.encode(), url, headers, producer)
        asking.addTimeout(_PATIENCE, self._reactor)
        response: IResponse = await asking
        return response
