"""What looking at a host promises to those who ask.

Providers are written against :class:`Scanner` and never against a concrete
one.  :class:`nodepool_tx.nodescan.scanner.ReactorScanner` asks real hosts,
:class:`nodepool_tx.nodescan.simulated.SimulatedHosts` answers for hosts that
are never contacted, and :class:`nodepool_tx.testing.scanner.MemoryScanner`
asks hosts kept in memory; all pass the same contract tests.

What every implementation keeps:

* **A timeout is for work, not for waiting in line.**  It starts when the
  host is first contacted, however long the queue before it was.
* **All or nothing.**  A scan fires with every host key type this software
  can check, or it fails; half an answer would look like a changed host.
* **Cancelling is enough.**  Cancelling the Deferred closes what was open and
  gives the place in the queue back.
* **Nothing is remembered.**  The answer to an earlier call is never used
  again; calls made while one is under way may share its answer.
"""

from __future__ import annotations

import enum
from typing import Protocol

import attrs
from twisted.internet.defer import Deferred

__all__ = [
    "Address",
    "AddressFamily",
    "ConnectFailed",
    "ConnectFailure",
    "KeyExchangeFailed",
    "NotSSH",
    "ScanError",
    "ScanTimeout",
    "Scanner",
]


class AddressFamily(enum.Enum):
    """What kind of address a host was found at."""

    IPV4 = "ipv4"
    IPV6 = "ipv6"
    #: A host that is only pretended; it has no address.
    SIMULATED = "simulated"


@attrs.frozen
class Address:
    """Where a host was found.

    :ivar host: the address in its textual form, never a name (but the name as
        given for a simulated host).
    :ivar port: the TCP port asked for.
    """

    family: AddressFamily
    host: str
    port: int

    @property
    def ipv4(self) -> str | None:
        """The address when it is an IPv4 one (a node's ``public_ipv4``)."""
        return self.host if self.family is AddressFamily.IPV4 else None

    @property
    def ipv6(self) -> str | None:
        """The address when it is an IPv6 one (a node's ``public_ipv6``)."""
        return self.host if self.family is AddressFamily.IPV6 else None


class ConnectFailure(enum.Enum):
    """Why there is no connection."""

    #: The host answers, nothing listens on the port.
    REFUSED = "refused"
    #: The network says that it cannot get there.
    UNREACHABLE = "unreachable"
    #: The name has no address.
    NAME_UNKNOWN = "name-unknown"
    #: Something on our side: no file descriptors, no permission, ...
    LOCAL = "local"


class ScanError(Exception):
    """A host did not answer as it should.

    The text is one line for an operator: it names ``host:port``, what
    happened and what to look at.

    :ivar host: the host as it was asked for.
    :ivar port: the TCP port.
    """

    def __init__(self, host: str, port: int, message: str) -> None:
        where = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        super().__init__(f"{where}: {message}")
        self.host = host
        self.port = port


class ScanTimeout(ScanError):
    """Time ran out before the host had answered."""


class ConnectFailed(ScanError):
    """There is no TCP connection, and it was said why."""

    def __init__(self, host: str, port: int, message: str, reason: ConnectFailure) -> None:
        super().__init__(host, port, message)
        self.reason = reason


class NotSSH(ScanError):
    """The port takes connections, but no SSH server speaks there.

    Also when it says nothing at all until the time is over, or hangs up
    before it has said anything.
    """


class KeyExchangeFailed(ScanError):
    """An SSH server is there, but did not prove a host key.

    It shares no key exchange method with us, broke the connection off, or
    signed with another key than the one it showed.
    """


class Scanner(Protocol):
    """Looks at hosts over the network.

    ``timeout`` is in seconds and bounds the whole call once it is the host's
    turn.  With ``wait`` a host that is not up yet (refused, unreachable, no
    SSH yet) is tried again with a short back-off until the timeout is over,
    and then the last error is raised; without it the first error is final.
    """

    def scan_keys(
        self, host: str, port: int, timeout: float, *, wait: bool = False
    ) -> Deferred[tuple[str, ...]]:
        """Gather the SSH host keys of a server.

        Fires with ``"<type> <base64>"`` for each key type of the server, each
        type once, always in this order: ssh-ed25519, ecdsa-sha2-nistp256,
        -nistp384, -nistp521, ssh-rsa, ssh-dss.  The server has proved that it
        holds each of them.

        :raises ScanTimeout: not done in time.
        :raises ConnectFailed: there is no connection.
        :raises NotSSH: something else lives on the port.
        :raises KeyExchangeFailed: the server did not prove a key.
        """

    def probe(
        self, host: str, port: int, timeout: float, *, wait: bool = False
    ) -> Deferred[Address]:
        """See whether the port takes TCP connections; fires with the address that did.

        :raises ScanTimeout: no answer in time.
        :raises ConnectFailed: there is no connection.
        """

    def resolve(self, host: str, port: int) -> Deferred[Address]:
        """Look a name up; fires with the address the system prefers.

        An IP address is answered at once, without asking anyone.

        :raises ConnectFailed: with ``NAME_UNKNOWN``.
        :raises ScanTimeout: the name service does not answer.
        """
