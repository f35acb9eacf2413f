"""A network in memory, with servers that say exactly what a test wants.

:class:`ScriptedReactor` is a Clock that connects.  Nothing is delivered while
the code under test is on the stack: answers come with the next ``advance``.
"""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Callable
from random import Random
from typing import Any

import attrs
from kazoo.protocol.serialization import (
    Connect,
    int_int_long_struct,
    reply_header_struct,
    write_buffer,
    write_string,
)
from twisted.internet.address import IPv4Address
from twisted.internet.error import ConnectionDone, ConnectionLost, ConnectionRefusedError
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from nodepool_tx.txzookeeper.client import ZookeeperClient
from nodepool_tx.txzookeeper.link import Pauses

__all__ = ["STAT", "Request", "ScriptedReactor", "ScriptedServer", "make_client"]

#: A stat on the wire, all zeros but the version.
STAT = struct.pack("!qqqqiiiqiiq", 1, 1, 0, 0, 7, 0, 0, 0, 0, 0, 1)


@attrs.frozen
class Request:
    """What a client asked."""

    xid: int
    opcode: int
    body: bytes


class Transport:
    """The client's end of a connection in memory."""

    disconnecting = False

    def __init__(self, reactor: ScriptedReactor, server: ScriptedServer) -> None:
        self._reactor = reactor
        self._server = server
        self.protocol: Any = None
        self.open = True
        self.writes: list[bytes] = []

    def setTcpNoDelay(self, enabled: bool) -> None:
        pass

    def write(self, data: bytes) -> None:
        if self.open:
            self.writes.append(data)
            self._server.received(self, data)

    def loseConnection(self) -> None:
        self._reactor.callLater(0, self.close)

    def abortConnection(self) -> None:
        self._reactor.callLater(0, self.close, ConnectionLost())

    def close(self, reason: Exception | None = None) -> None:
        if self.open:
            self.open = False
            self._server.transports.remove(self)
            self.protocol.connectionLost(Failure(reason or ConnectionDone()))


class ScriptedServer:
    """Gives sessions and answers pings by itself; everything else a test answers.

    :ivar greetings: of all connections, first to last.
    :ivar requests: not yet answered, authentication included.
    :ivar expired: the next session presented is not known any more.
    :ivar silent: answer neither greetings nor pings.
    :ivar hang_up: whether to close instead of answering a greeting.
    :ivar gives_sessions: whether anyone gets a session.
    """

    def __init__(self, reactor: ScriptedReactor) -> None:
        self.reactor = reactor
        self.greetings: list[Connect] = []
        self.requests: deque[Request] = deque()
        self.transports: list[Transport] = []
        self.pings = 0
        self.timeout = 9000
        self.session_id = 0x1234
        self.expired = False
        self.silent = False
        self.hang_up: Callable[[Connect], bool] = lambda greeting: False
        self.gives_sessions = True
        self._greeted: set[Transport] = set()
        self._buffer: dict[Transport, bytes] = {}

    @property
    def transport(self) -> Transport:
        return self.transports[-1]

    def received(self, transport: Transport, data: bytes) -> None:
        data = self._buffer.get(transport, b"") + data
        while len(data) >= 4:
            (size,) = struct.unpack_from("!i", data)
            if len(data) < 4 + size:
                break
            self._take(transport, data[4 : 4 + size])
            data = data[4 + size :]
        self._buffer[transport] = data

    def _take(self, transport: Transport, frame: bytes) -> None:
        if transport not in self._greeted:
            self._greeted.add(transport)
            version, zxid, timeout, session_id = struct.unpack_from("!iqiq", frame)
            greeting = Connect(version, zxid, timeout, session_id, frame[28:44], False)
            self.greetings.append(greeting)
            self.reactor.callLater(0, self._answer_greeting, transport, greeting)
        else:
            xid, opcode = struct.unpack_from("!ii", frame)
            if xid == -2:
                self.pings += 1
                self.reactor.callLater(0, self._answer_ping, transport)
            else:
                self.requests.append(Request(xid, opcode, frame[8:]))

    def _answer_ping(self, transport: Transport) -> None:
        if transport.open and not self.silent:
            transport.protocol.dataReceived(self.frame(-2))

    def _answer_greeting(self, transport: Transport, greeting: Connect) -> None:
        if not transport.open or self.silent:
            return
        if self.hang_up(greeting):
            transport.close()
            return
        known = greeting.session_id != 0
        if (known and self.expired) or not self.gives_sessions:
            self.expired = False
            self.session_id += 1
            self.send_grant(0, 0, transport)
        else:
            self.send_grant(self.timeout, greeting.session_id or self.session_id, transport)

    def send_grant(self, timeout: int, session_id: int, transport: Transport) -> None:
        body = int_int_long_struct.pack(0, timeout, session_id) + write_buffer(b"p" * 16) + b"\0"
        transport.protocol.dataReceived(struct.pack("!i", len(body)) + body)

    # -- what tests do

    def take(self, opcode: int | None = None) -> Request:
        """The oldest unanswered request; of that kind, if one is given."""
        request = self.requests.popleft()
        assert opcode in (None, request.opcode), request
        return request

    def opcodes(self) -> list[int]:
        return [request.opcode for request in self.requests]

    def frame(self, xid: int, body: bytes = b"", code: int = 0, zxid: int = 0) -> bytes:
        content = reply_header_struct.pack(xid, zxid, code) + body
        return struct.pack("!i", len(content)) + content

    def send(self, data: bytes) -> None:
        """Have it received, and taken in, as that happens in the reactor's next turn."""
        self.transport.protocol.dataReceived(data)
        self.reactor.turn()

    def reply(self, body: bytes = b"", *, code: int = 0, zxid: int = 0) -> Request:
        """Answer the oldest request."""
        request = self.take()
        self.send(self.frame(request.xid, body, code, zxid))
        return request

    def event(self, kind: int, path: str) -> None:
        self.send(self.frame(-1, struct.pack("!ii", kind, 3) + write_string(path)))

    def drop(self) -> None:
        """Close the newest connection."""
        self.transport.close()


class ScriptedReactor(Clock):
    """Time and a network.

    :ivar servers: who listens where; others refuse.
    :ivar dialled: addresses tried, first to last.
    :ivar names: what names resolve to; others do not exist, and those mapped
        to None are never answered.
    """

    def __init__(self) -> None:
        super().__init__()
        self.servers: dict[tuple[str, int], ScriptedServer] = {}
        self.dialled: list[str] = []
        self.names: dict[str, list[str] | None] = {}
        self.nameResolver = self

    def add(self, ip: str = "127.0.0.1", port: int = 2181) -> ScriptedServer:
        server = self.servers[ip, port] = ScriptedServer(self)
        return server

    def connectTCP(self, host: str, port: int, factory: Any, *args: Any, **kwargs: Any) -> Any:
        self.dialled.append(f"{host}:{port}")
        connector = Connector(IPv4Address("TCP", host, port))
        factory.startedConnecting(connector)
        self.callLater(0, self._connected, host, port, factory, connector)
        return connector

    def _connected(self, host: str, port: int, factory: Any, connector: Connector) -> None:
        server = self.servers.get((host, port))
        if connector.stopped:
            return
        if server is None:
            factory.clientConnectionFailed(connector, Failure(ConnectionRefusedError()))
            return
        transport = Transport(self, server)
        server.transports.append(transport)
        transport.protocol = factory.buildProtocol(IPv4Address("TCP", host, port))
        transport.protocol.makeConnection(transport)

    def resolveHostName(self, receiver: Any, name: str, port: int = 0, **kwargs: Any) -> Any:
        receiver.resolutionBegan(None)
        found = self.names.get(name, [])
        if found is not None:
            for ip in found:
                receiver.addressResolved(IPv4Address("TCP", ip, port))
            receiver.resolutionComplete()

    def turn(self) -> None:
        """Make the calls that are due, and not those that they make due."""
        for call in [call for call in self.calls if call.getTime() <= self.rightNow]:
            if call.active():
                self.calls.remove(call)
                call.called = 1
                call.func(*call.args, **call.kw)

    def settle(self) -> None:
        """Let everything happen that is due now."""
        for _ in range(20):
            self.advance(0)


class Connector:
    """What ``connectTCP`` hands out."""

    def __init__(self, destination: IPv4Address) -> None:
        self._destination = destination
        self.stopped = False

    def getDestination(self) -> IPv4Address:
        return self._destination

    def stopConnecting(self) -> None:
        self.stopped = True


def make_client(
    reactor: ScriptedReactor, servers: str = "127.0.0.1:2181", **options: Any
) -> ZookeeperClient:
    """A client whose dice always fall the same way."""
    defaults = {"random": Random(7), "pauses": Pauses(1.0, 8.0)}
    return ZookeeperClient(reactor, servers, **{**defaults, **options})
