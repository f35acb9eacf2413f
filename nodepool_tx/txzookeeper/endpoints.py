"""Where the servers are: the connection string, addresses, and dialling them."""

from __future__ import annotations

from random import Random
from typing import Any

import attrs
from OpenSSL import SSL
from twisted.internet.abstract import isIPAddress, isIPv6Address
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.endpoints import (
    TCP4ClientEndpoint,
    TCP6ClientEndpoint,
    wrapClientTLS,
)
from twisted.internet.interfaces import IAddress, IHostResolution, IResolutionReceiver
from twisted.internet.protocol import Factory, Protocol
from twisted.python.failure import Failure
from zope.interface import implementer

from nodepool_tx.txzookeeper.tls import TLSFiles, tls_reason

__all__ = ["Address", "Dialer", "Server", "Servers", "parse_servers"]

_DEFAULT_PORT = 2181


@attrs.frozen
class Server:
    """A server as the connection string names it."""

    host: str
    port: int


@attrs.frozen
class Servers:
    """A connection string, taken apart.

    :ivar chroot: the path that is ``/`` to the client; empty for none.
    """

    servers: tuple[Server, ...]
    chroot: str


@attrs.frozen
class Address:
    """One address of one server.

    :ivar host: the name it was found under; empty if none was used.
    """

    ip: str
    port: int
    host: str = ""

    def __str__(self) -> str:
        where = f"[{self.ip}]:{self.port}" if ":" in self.ip else f"{self.ip}:{self.port}"
        return f"{self.host} ({where})" if self.host else where


def parse_servers(text: str) -> Servers:
    """Read ``host:port,[v6]:port,host/chroot``; the port is 2181 if not given.

    :raises ValueError: names the part that is wrong.
    """
    hosts, slash, path = text.strip().partition("/")
    chroot = (slash + path).rstrip("/")
    if "//" in chroot:
        raise ValueError(f"empty name in the chroot {chroot!r}")
    return Servers(tuple(_parse_server(part.strip()) for part in hosts.split(",")), chroot)


def _parse_server(part: str) -> Server:
    if part.startswith("["):
        host, bracket, rest = part[1:].partition("]")
        if not bracket or (rest and not rest.startswith(":")) or not isIPv6Address(host):
            raise ValueError(f"not an IPv6 server, which is written [address]:port: {part!r}")
        port = rest[1:]
    elif part.count(":") > 1:
        raise ValueError(f"an IPv6 address needs brackets: {part!r}")
    else:
        host, _, port = part.partition(":")
    if not host:
        raise ValueError(f"a server without a host name: {part!r}")
    if not port:
        return Server(host, _DEFAULT_PORT)
    if not (port.isascii() and port.isdigit() and 0 < int(port) < 65536):
        raise ValueError(f"not a port number: {port!r} in {part!r}")
    return Server(host, int(port))


@implementer(IResolutionReceiver)
class _Receiver:
    """Collects one name's addresses; fires once, whatever comes later."""

    def __init__(self) -> None:
        self.done: Deferred[list[str]] = Deferred()
        self._found: list[str] = []

    def resolutionBegan(self, resolutionInProgress: IHostResolution) -> None:
        pass

    def addressResolved(self, address: IAddress) -> None:
        if isinstance(address, IPv4Address | IPv6Address) and address.host not in self._found:
            self._found.append(address.host)

    def resolutionComplete(self) -> None:
        if not self.done.called:
            self.done.callback(self._found)


class Dialer:
    """Finds addresses and opens connections; remembers nothing but the last one tried.

    :param reactor: must resolve names, connect and tell the time.
    :param timeout: seconds that looking a name up may take.
    """

    def __init__(
        self, reactor: Any, servers: Servers, tls: TLSFiles | None, random: Random, timeout: float
    ) -> None:
        self._reactor = reactor
        self._servers = servers.servers
        self._tls = tls
        self._random = random
        self._timeout = timeout
        self._last: Address | None = None
        if tls is not None:
            tls.context()

    def use(self, servers: Servers) -> None:
        """Dial these from now on."""
        self._servers = servers.servers

    async def addresses(self) -> tuple[list[Address], list[str]]:
        """All addresses, in random order, the one dialled last at the end.

        Beside them the names for which there are none now.
        """
        found = await gatherResults([self._resolve(server) for server in self._servers])
        addresses = list(dict.fromkeys(address for some in found for address in some))
        self._random.shuffle(addresses)
        addresses.sort(key=lambda address: address == self._last)
        pairs = zip(self._servers, found, strict=True)
        return addresses, [server.host for server, some in pairs if not some]

    def _resolve(self, server: Server) -> Deferred[list[Address]]:
        if isIPAddress(server.host) or isIPv6Address(server.host):
            literal: Deferred[list[Address]] = Deferred()
            literal.callback([Address(server.host, server.port)])
            return literal
        receiver = _Receiver()
        self._reactor.nameResolver.resolveHostName(receiver, server.host, server.port)
        looking = receiver.done
        looking.addTimeout(self._timeout, self._reactor)
        return looking.addCallbacks(
            lambda ips: [Address(ip, server.port, server.host) for ip in ips], lambda _: []
        )

    def dial(self, address: Address, protocol: Protocol) -> Deferred[Any]:
        """Connect ``protocol``; fires when the TCP connection is there."""
        self._last = address
        endpoint_type = TCP6ClientEndpoint if ":" in address.ip else TCP4ClientEndpoint
        endpoint: Any = endpoint_type(self._reactor, address.ip, address.port)
        if self._tls is not None:
            endpoint = wrapClientTLS(self._tls.creator(address.host), endpoint)
        factory = Factory.forProtocol(lambda: protocol)
        factory.noisy = False
        dialled: Deferred[Any] = endpoint.connect(factory)
        return dialled

    def describe(self, failure: Failure) -> str:
        """Why a connection failed, for an operator."""
        error = failure.value
        if not isinstance(error, SSL.Error):
            return failure.getErrorMessage().strip().rstrip(".") or type(error).__name__
        reason = tls_reason(error)
        if self._tls is not None and "certificate verify failed" in reason:
            return f"its certificate is not signed by the CA in {self._tls.ca} ({reason})"
        if self._tls is not None and "alert" in reason:
            return f"it refuses our certificate {self._tls.cert} ({reason})"
        return f"no TLS connection ({reason})"
