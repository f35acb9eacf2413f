"""From a host name to a TCP connection, with errors an operator can act on.

Names are looked up by the reactor's resolver; IP addresses are taken as they
are.  A name with several addresses is tried as in RFC 8305: in the system's
order, the next one as soon as one fails or has not answered for a quarter of a
second, the first connection wins.
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from twisted.internet import error
from twisted.internet.abstract import isIPAddress, isIPv6Address
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP6ClientEndpoint
from twisted.internet.interfaces import IAddress, IResolutionReceiver
from twisted.internet.protocol import Factory, Protocol
from twisted.python.failure import Failure
from zope.interface import implementer

from nodepool_tx.nodescan.interface import (
    Address,
    AddressFamily,
    ConnectFailed,
    ConnectFailure,
    ScanError,
    ScanTimeout,
)

__all__ = ["connect", "connect_failed", "literal", "look_up", "peer_address"]

P = TypeVar("P", bound=Protocol)

#: Seconds after which the next address of a name is tried beside the last.
_STAGGER = 0.25


def literal(host: str, port: int) -> Address | None:
    """The address that ``host`` already is; None if it is a name."""
    if isIPAddress(host):
        return Address(AddressFamily.IPV4, host, port)
    if isIPv6Address(host):
        return Address(AddressFamily.IPV6, host, port)
    return None


@implementer(IResolutionReceiver)
class _Receiver:
    """Collects what the reactor's resolver finds."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._found: dict[Address, None] = {}
        self.done: Deferred[tuple[Address, ...]] = Deferred()

    def resolutionBegan(self, resolutionInProgress: object) -> None:
        """Nothing to do: look-ups cannot be taken back."""

    def addressResolved(self, address: IAddress) -> None:
        if not isinstance(address, (IPv4Address, IPv6Address)):
            return
        found = literal(address.host, self._port)
        if found is not None:
            self._found[found] = None

    def resolutionComplete(self) -> None:
        if not self.done.called:
            self.done.callback(tuple(self._found))


def peer_address(protocol: Protocol) -> Address:
    """Where a connected protocol's other side is."""
    transport: Any = protocol.transport
    peer = transport.getPeer()
    address = literal(peer.host, peer.port)
    assert address is not None, peer
    return address


async def look_up(reactor: Any, host: str, port: int) -> tuple[Address, ...]:
    """All addresses of ``host``, the system's favourite first; never none.

    :raises ConnectFailed: with ``NAME_UNKNOWN``.
    """
    address = literal(host, port)
    if address is not None:
        return (address,)
    receiver = _Receiver(port)
    if _can_be_a_name(host):
        reactor.nameResolver.resolveHostName(receiver, host, port)
        found = await receiver.done
        if found:
            return found
    raise ConnectFailed(
        host,
        port,
        "the name has no address; is it spelled right and known to this machine's resolver?",
        ConnectFailure.NAME_UNKNOWN,
    )


def _can_be_a_name(host: str) -> bool:
    # The resolver's thread loses these errors, and with them the answer.
    try:
        return bool(host.encode("idna")) and host.isprintable()
    except UnicodeError:
        return False


def connect(reactor: Any, addresses: tuple[Address, ...], build: Callable[[], P]) -> Deferred[P]:
    """Connect to whichever of ``addresses`` answers first.

    Fires with the connected protocol, made by ``build`` (called once per
    attempt); fails with Twisted's error for the address tried last.
    Cancelling it ends all attempts.
    """
    race = _Race(reactor, addresses, build)
    race.go_on()
    return race.winner


class _Quiet(Factory):
    """A factory that does not log its coming and going."""

    noisy = False


class _Race(Generic[P]):
    """Connection attempts of which one shall live."""

    def __init__(
        self, reactor: Any, addresses: tuple[Address, ...], build: Callable[[], P]
    ) -> None:
        self.winner: Deferred[P] = Deferred(lambda _: self._stop())
        self._reactor = reactor
        self._waiting = list(addresses)
        self._build = build
        self._running: list[Deferred[P]] = []
        self._next: Any = None
        self._over = False

    def go_on(self) -> None:
        """Start with the next address, and plan the one after it."""
        address = self._waiting.pop(0)
        if self._waiting:
            self._next = self._reactor.callLater(_STAGGER, self.go_on)
        else:
            self._next = None
        kind = TCP6ClientEndpoint if address.family is AddressFamily.IPV6 else TCP4ClientEndpoint
        # Whoever waits has a timeout; the endpoint's own must not be shorter.
        endpoint = kind(self._reactor, address.host, address.port, timeout=3600)
        factory: Any = _Quiet.forProtocol(self._build)
        attempt: Any = endpoint.connect(factory)
        self._running.append(attempt)
        attempt.addCallbacks(
            self._connected, self._failed, callbackArgs=(attempt,), errbackArgs=(attempt,)
        )

    def _connected(self, protocol: P, attempt: Deferred[P]) -> None:
        self._running.remove(attempt)
        if self._over:
            protocol.transport.abortConnection()  # type: ignore[union-attr]
            return
        self._stop()
        self.winner.callback(protocol)

    def _failed(self, failure: Failure, attempt: Deferred[P]) -> None:
        self._running.remove(attempt)
        if self._over:
            return
        if self._waiting:
            if self._next is not None:
                self._next.cancel()
            self.go_on()
        elif not self._running:
            self._stop()
            self.winner.errback(failure)

    def _stop(self) -> None:
        self._over = True
        if self._next is not None and self._next.active():
            self._next.cancel()
        for attempt in tuple(self._running):
            attempt.cancel()


def connect_failed(host: str, port: int, failure: Exception) -> ScanError:
    """Say in an operator's words why there is no connection."""
    if isinstance(failure, error.ConnectionRefusedError) or _errno(failure) == errno.ECONNRESET:
        return ConnectFailed(
            host,
            port,
            "connection refused: the host is up but nothing listens there; is the server running?",
            ConnectFailure.REFUSED,
        )
    if isinstance(failure, error.NoRouteError) or _errno(failure) == errno.EHOSTUNREACH:
        return ConnectFailed(
            host,
            port,
            "unreachable: no way to the host; is it up, and does the network lead there?",
            ConnectFailure.UNREACHABLE,
        )
    if isinstance(failure, (error.TCPTimedOutError, error.TimeoutError)):
        return ScanTimeout(
            host, port, "no answer to the connection attempt; is the host up, behind a firewall?"
        )
    return ConnectFailed(host, port, f"cannot connect from here: {failure}", ConnectFailure.LOCAL)


def _errno(failure: Exception) -> int | None:
    return getattr(failure, "osError", None)
