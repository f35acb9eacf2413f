"""A reactor whose network, name service and clock are in memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.error import ConnectError
from twisted.internet.protocol import Protocol
from twisted.internet.testing import MemoryReactorClock
from twisted.python.failure import Failure
from twisted.test.iosim import FakeTransport, IOPump

__all__ = ["MemoryNetwork"]

#: Makes the server's side of a connection, or says why there is none.
Listener = Callable[[], "Protocol | ConnectError"]


class MemoryNetwork(MemoryReactorClock):
    """Connections go to what :attr:`listeners` holds; to nothing else, ever.

    :ivar listeners: by address and port.
    :ivar elsewhere: what meets connections to anything else; None swallows them.
    :ivar names: addresses by host name; a name that is missing is unknown, one
        with None gets no answer.
    :ivar contacted: addresses connected to, in order.
    """

    def __init__(self) -> None:
        super().__init__()
        self.nameResolver = self
        self.listeners: dict[tuple[str, int], Listener] = {}
        self.elsewhere: Listener | None = None
        self.names: dict[str, list[str] | None] = {}
        self.contacted: list[str] = []
        self.looked_up: list[str] = []
        self.pumps: list[IOPump] = []

    def resolveHostName(self, receiver: Any, name: str, port: int = 0) -> None:
        self.looked_up.append(name)
        addresses = self.names.get(name, [])
        if addresses is None:
            self.unanswered = receiver
            return
        for address in addresses:
            kind = IPv6Address if ":" in address else IPv4Address
            receiver.addressResolved(kind("TCP", address, port))
        receiver.resolutionComplete()

    def connectTCP(self, host: str, port: int, factory: Any, *more: Any, **most: Any) -> Any:
        connector = super().connectTCP(host, port, factory, *more, **most)
        self.contacted.append(host)
        self.callLater(0, self._answer, connector, host, port, factory)
        return connector

    @property
    def open_connections(self) -> int:
        """Connections whose client has not seen the end yet."""
        return sum(not pump.clientIO.disconnected for pump in self.pumps)

    def settle(self) -> None:
        """Let everybody talk until all are silent; no time passes."""
        busy = True
        while busy:
            self.advance(0)
            moved = [pump.pump() for pump in tuple(self.pumps)]
            busy = any(moved)

    def _answer(self, connector: Any, host: str, port: int, factory: Any) -> None:
        listener = self.listeners.get((host, port), self.elsewhere)
        if listener is None or connector.stoppedConnecting:
            return
        server = listener()
        if isinstance(server, ConnectError):
            factory.clientConnectionFailed(connector, Failure(server))
            return
        kind = IPv6Address if ":" in host else IPv4Address
        address = kind("TCP", host, port)
        client = factory.buildProtocol(address)
        client_io = FakeTransport(client, isServer=False, peerAddress=address)
        server_io = FakeTransport(server, isServer=True)
        server.makeConnection(server_io)
        client.makeConnection(client_io)
        self.pumps.append(IOPump(client, server, client_io, server_io, debug=False))
