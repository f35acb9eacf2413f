"""A TCP proxy that misbehaves on demand, between a client and a real server.

Runs on the reactor of the test.  Its controls act on connections there are
and on those to come:

* :meth:`Proxy.cut` resets every connection;
* :meth:`Proxy.delay` holds all that passes, in both directions, for a while;
* :meth:`Proxy.blackhole` swallows all that passes, or only the answers, and
  leaves the connections open;
* :meth:`Proxy.refuse` resets every connection and takes no new one;
* :meth:`Proxy.heal` goes back to normal; swallowed connections are reset.
"""

from __future__ import annotations

from collections import deque
from typing import Any

from twisted.internet.defer import Deferred, DeferredList, maybeDeferred
from twisted.internet.endpoints import TCP4ClientEndpoint
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure

__all__ = ["Proxy"]


class _Side(Protocol):
    """One of the two connections of a pair."""

    def __init__(self, proxy: Proxy, answers: bool) -> None:
        self.proxy = proxy
        self.answers = answers
        self.peer: _Side | None = None
        self.swallowed = False
        self.closed: Deferred[None] = Deferred()
        self._due: deque[tuple[float, bytes]] = deque()
        self._timer: Any = None
        self._early: list[bytes] = []
        self._connecting: Deferred[Any] | None = None

    def connectionMade(self) -> None:
        self.transport.setTcpNoDelay(True)
        self.proxy.sides.add(self)
        if not self.answers:
            server = _Side(self.proxy, True)
            factory = Factory.forProtocol(lambda: server)
            factory.noisy = False
            endpoint = TCP4ClientEndpoint(self.proxy.reactor, "127.0.0.1", self.proxy.target)
            self._connecting = endpoint.connect(factory)
            self._connecting.addCallbacks(self._paired, lambda _: self.abort())

    def _paired(self, server: _Side) -> None:
        if self.closed.called:
            server.abort()
            return
        self.peer, server.peer = server, self
        for data in self._early:
            self.dataReceived(data)
        self._early.clear()

    def dataReceived(self, data: bytes) -> None:
        if self.peer is None:
            self._early.append(data)
        elif self.proxy.swallows(self.answers):
            self.swallowed = self.peer.swallowed = True
        else:
            self._due.append((self.proxy.reactor.seconds() + self.proxy.pause, data))
            if self._timer is None:
                self._pass_on()

    def _pass_on(self) -> None:
        self._timer = None
        now = self.proxy.reactor.seconds()
        while self._due and self._due[0][0] <= now:
            _, data = self._due.popleft()
            if self.peer is not None and not self.swallowed:
                self.peer.transport.write(data)
        if self._due:
            self._timer = self.proxy.reactor.callLater(self._due[0][0] - now, self._pass_on)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.proxy.sides.discard(self)
        if self._timer is not None:
            self._timer.cancel()
        self._due.clear()
        self.closed.callback(None)
        if self._connecting is not None:
            self._connecting.cancel()
        if self.peer is not None and not self.peer.closed.called:
            self.peer.transport.loseConnection()

    def abort(self) -> None:
        if not self.closed.called:
            self.transport.abortConnection()


class Proxy:
    """Listens on loopback and passes everything on to ``target``.

    :ivar accepted: connections taken so far.
    """

    def __init__(self, reactor: Any, target: int, interface: str = "127.0.0.1") -> None:
        self.reactor = reactor
        self.target = target
        self.interface = interface
        self.pause = 0.0
        self.accepted = 0
        self.sides: set[_Side] = set()
        self._swallow: frozenset[bool] = frozenset()
        self._port: Any = None
        self._listen(0)
        self.port: int = self._port.getHost().port

    @property
    def address(self) -> str:
        return f"[::1]:{self.port}" if self.interface == "::1" else f"127.0.0.1:{self.port}"

    def _listen(self, port: int) -> None:
        factory = Factory()
        factory.noisy = False
        factory.buildProtocol = self._accept  # type: ignore[method-assign]
        self._port = self.reactor.listenTCP(port, factory, interface=self.interface)

    def _accept(self, address: Any) -> _Side:
        self.accepted += 1
        return _Side(self, False)

    def swallows(self, answers: bool) -> bool:
        return answers in self._swallow

    def cut(self) -> None:
        """Reset every connection there is."""
        for side in tuple(self.sides):
            side.abort()

    def delay(self, seconds: float) -> None:
        """Hold what passes from now on for ``seconds``."""
        self.pause = seconds

    def blackhole(self, *, answers_only: bool = False) -> None:
        """Pass nothing on any more; with ``answers_only`` requests still arrive."""
        self._swallow = frozenset({True} if answers_only else {True, False})

    async def refuse(self) -> None:
        """Reset every connection and listen no more."""
        port, self._port = self._port, None
        if port is not None:
            await maybeDeferred(port.stopListening)
        self.cut()

    def heal(self) -> None:
        """Behave; connections that lost something are reset."""
        self.pause = 0.0
        self._swallow = frozenset()
        for side in tuple(self.sides):
            if side.swallowed:
                side.abort()
        if self._port is None:
            self._listen(self.port)

    def stop(self) -> Deferred[Any]:
        """Close everything; fires when nothing is left of it."""

        async def stopping() -> None:
            self._swallow = frozenset()
            await self.refuse()
            while self.sides:
                await DeferredList([side.closed for side in tuple(self.sides)])

        return Deferred.fromCoroutine(stopping())
