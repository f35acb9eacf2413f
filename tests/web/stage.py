"""The whole web server in memory: a launcher with nodes, and visitors on wires of their own."""

from __future__ import annotations

import http.client
import io
import json
from collections.abc import Mapping
from typing import Any

import attrs
from twisted.internet.address import IPv4Address
from twisted.internet.error import ConnectionDone
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure

from nodepool_tx.history import History
from nodepool_tx.status.farm import Farm
from nodepool_tx.status.tally import Tally
from nodepool_tx.web.app import WebApp
from nodepool_tx.web.feeds import make_feeds
from nodepool_tx.web.hub import Hub
from nodepool_tx.web.routing import Front
from nodepool_tx.web.site import LimitedSite
from tests.metrics.stage import FarmTestCase

__all__ = ["Answer", "Visitor", "WebTestCase", "Wire"]


class Wire(StringTransport):
    """A connection whose other end may stop reading."""

    aborted = False

    def __init__(self) -> None:
        super().__init__(peerAddress=IPv4Address("TCP", "192.0.2.1", 4242))
        self.protocol: Any = None

    def loseConnection(self) -> None:
        super().loseConnection()
        self._end()

    def abortConnection(self) -> None:
        self.aborted = True
        super().abortConnection()
        self._end()

    def _end(self) -> None:
        self.connected = False
        if self.producer is not None:
            self.producer.stopProducing()
            self.producer = None
        protocol, self.protocol = self.protocol, None
        if protocol is not None:
            protocol.connectionLost(Failure(ConnectionDone()))

    @property
    def ended(self) -> bool:
        return self.protocol is None

    def fill(self) -> None:
        """The other end reads nothing any more."""
        self.producer.pauseProducing()

    def drain(self) -> None:
        """The other end has read everything."""
        self.producer.resumeProducing()


@attrs.frozen
class Answer:
    """What came back."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def text(self) -> str:
        return self.body.decode()


class _Socket:
    def __init__(self, data: bytes) -> None:
        self._data = data

    def makefile(self, *_: object, **__: object) -> io.BytesIO:
        return io.BytesIO(self._data)


class Visitor:
    """One connection."""

    def __init__(self, site: LimitedSite) -> None:
        self.wire = Wire()
        protocol = site.buildProtocol(self.wire.getPeer())
        self.turned_away = protocol is None
        if protocol is not None:
            self.wire.protocol = protocol
            protocol.makeConnection(self.wire)

    def say(self, data: bytes) -> None:
        assert self.wire.protocol is not None, "the connection has ended"
        self.wire.protocol.dataReceived(data)

    def ask(self, path: str, method: str = "GET", headers: Mapping[str, str] | None = None) -> None:
        fields = {"Host": "nodepool.example", **(headers or {})}
        head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        self.say(f"{method} {path} HTTP/1.1\r\n{head}\r\n".encode())

    def hear(self) -> bytes:
        """All bytes since the last time."""
        heard = self.wire.value()
        self.wire.clear()
        return heard

    def answer(self, method: str = "GET") -> Answer:
        """What was heard, as one answer."""
        response = http.client.HTTPResponse(_Socket(self.hear()), method=method)  # type: ignore[arg-type]
        response.begin()
        headers = {name.lower(): value for name, value in response.getheaders()}
        return Answer(response.status, headers, response.read())

    def events(self) -> list[tuple[str, Any]]:
        """The events of a stream since the last time, with their data."""
        found = []
        for block in dechunked(self.hear()).split("\n\n"):
            fields = dict(line.split(": ", 1) for line in block.splitlines() if ": " in line)
            if "event" in fields:
                found.append((fields["event"], json.loads(fields["data"])))
        return found

    def leave(self) -> None:
        self.wire._end()


def dechunked(data: bytes) -> str:
    """The body of what was heard, the head left out if it is there."""
    if data.startswith(b"HTTP/"):
        data = data.partition(b"\r\n\r\n")[2]
    body = b""
    while data:
        size, _, data = data.partition(b"\r\n")
        length = int(size, 16)
        body, data = body + data[:length], data[length + 2 :]
    return body.decode()


class WebTestCase(FarmTestCase):
    """A launcher with a web server; :meth:`bring` a configuration first."""

    most_streams = 5
    most_connections = 20

    def setUp(self) -> None:
        super().setUp()
        self.history = History(self.clock, self.events)
        self.farm = Farm(
            clock=self.clock,
            store=self.store,
            tally=Tally(self.store),
            reloader=self.reloader,
            launcher=self.process,
            hostname="host.example",
            version="1.0",
            started=self.clock.seconds(),
        )
        self.hub = Hub(
            self.clock, make_feeds(self.farm, self.events, self.history), self.most_streams
        )
        self.serve()

    def serve(self, **extras: Any) -> None:
        """Build the application, with what a test adds to it."""
        self.app = WebApp(self.farm, self.history, self.hub, **extras)
        reactor: Any = self.clock
        self.site = LimitedSite(Front(self.app.routes()), reactor, self.most_connections)

    def stop(self) -> None:
        self.hub.close()
        self.site.end_all()
        super().stop()

    def visit(self) -> Visitor:
        return Visitor(self.site)

    def get(
        self, path: str, method: str = "GET", headers: Mapping[str, str] | None = None
    ) -> Answer:
        """The answer to one request over a connection of its own."""
        visitor = self.visit()
        visitor.ask(path, method, headers)
        self.settle()
        answer = visitor.answer(method)
        visitor.leave()
        return answer

    def listen(self, topics: str = "", headers: Mapping[str, str] | None = None) -> Visitor:
        """A visitor with an event stream that has begun."""
        visitor = self.visit()
        visitor.ask(f"/api/events?topics={topics}" if topics else "/api/events", headers=headers)
        return visitor
