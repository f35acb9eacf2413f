"""The console's side of SSH: a session with a terminal, or one command, and nothing else.

No forwarding of ports, agents or displays, no subsystems, no files.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any, Protocol

from twisted.conch.error import ConchError
from twisted.conch.ssh.channel import SSHChannel
from twisted.conch.ssh.common import NS, getNS
from twisted.conch.ssh.connection import (
    MSG_CHANNEL_OPEN_FAILURE,
    OPEN_ADMINISTRATIVELY_PROHIBITED,
    SSHConnection,
)
from twisted.conch.ssh.keys import Key
from twisted.conch.ssh.service import SSHService
from twisted.conch.ssh.session import parseRequest_pty_req, parseRequest_window_change
from twisted.conch.ssh.transport import DISCONNECT_BY_APPLICATION, SSHServerTransport
from twisted.internet.interfaces import IAddress, IDelayedCall, IReactorTime
from twisted.internet.protocol import Factory
from twisted.logger import Logger
from twisted.python.failure import Failure

from nodepool_tx.manhole.userauth import Gate, UserAuth

__all__ = ["Channel", "Connection", "ServerFactory", "Transport", "Visit"]

#: What may wait for a client that does not read, before the rest is thrown away.
MOST_BUFFERED = 256 * 1024
#: Connections at a time that have not logged in.
MOST_STRANGERS = 20
#: Seconds for a stranger to become known, negotiations included.
PATIENCE = 150.0
#: Packets of a stranger: the exchange of keys, and as many attempts as anybody may make.
MOST_PACKETS = 100
#: Channels of one connection at a time.
MOST_CHANNELS = 4
#: Of a command.
LONGEST_COMMAND = 100_000

_CIPHERS = (b"aes256-ctr", b"aes192-ctr", b"aes128-ctr")
_MACS = (b"hmac-sha2-512", b"hmac-sha2-256")
_EXCHANGES = (
    b"mlkem768x25519-sha256",
    b"curve25519-sha256",
    b"curve25519-sha256@libssh.org",
    b"ecdh-sha2-nistp521",
    b"ecdh-sha2-nistp384",
    b"ecdh-sha2-nistp256",
)
#: Those of visitors' keys.
_SIGNATURES = (
    b"ssh-ed25519",
    b"ecdsa-sha2-nistp256",
    b"ecdsa-sha2-nistp384",
    b"ecdsa-sha2-nistp521",
    b"rsa-sha2-512",
    b"rsa-sha2-256",
)

#: Messages that make sense before anything is encrypted: whoever sits in between
#: could put in any other one.
_IN_THE_CLEAR = frozenset((1, 2, 3, 4, 20, 21, *range(30, 50)))

#: What Conch says of every packet is of no interest: it is filtered with the rest of Twisted's.
_quiet = Logger(namespace="twisted.conch.ssh")


class Visit(Protocol):
    """What a channel is used for, once that is known."""

    def received(self, data: bytes) -> None: ...

    def resized(self, width: int, height: int) -> None: ...

    def interrupt(self) -> None: ...

    def ended_input(self) -> None: ...

    def drained(self) -> None: ...

    def gone(self) -> None: ...


class Channel(SSHChannel):
    """One session of a connection.

    :param begin: begins what the channel is for: given the channel, the
        command (None for a terminal), and the terminal's size if there is one.
    """

    name = b"session"
    conn: Any
    _log = _quiet

    def __init__(
        self, begin: Callable[[Channel, str | None, tuple[int, int] | None], Visit], **sizes: Any
    ) -> None:
        super().__init__(**sizes)
        self._begin = begin
        self._size: tuple[int, int] | None = None
        self._visit: Visit | None = None
        self._early = b""
        self._over = False

    # -- what is asked for -----------------------------------------------

    def requestReceived(self, requestType: bytes, data: bytes) -> bool:
        """A request of the client's; whatever is not known is refused."""
        handle = {
            b"pty-req": self._on_terminal,
            b"window-change": self._on_resize,
            b"shell": self._on_shell,
            b"exec": self._on_command,
            b"signal": self._on_signal,
        }.get(requestType)
        try:
            return handle is not None and handle(data)
        except (struct.error, IndexError, ValueError):
            return False

    def _on_terminal(self, data: bytes) -> bool:
        _, (height, width, _, _), _ = parseRequest_pty_req(data)
        self._size = (width, height)
        return True

    def _on_resize(self, data: bytes) -> bool:
        height, width, _, _ = parseRequest_window_change(data)
        if self._size is not None:
            self._size = (width, height)
            if self._visit is not None:
                self._visit.resized(width, height)
        return True

    def _on_shell(self, data: bytes) -> bool:
        return self._start(None)

    def _on_command(self, data: bytes) -> bool:
        command = getNS(data)[0]
        if len(command) > LONGEST_COMMAND:
            return False
        return self._start(command.decode("utf-8", "replace"))

    def _on_signal(self, data: bytes) -> bool:
        if self._visit is not None and getNS(data)[0] in (b"INT", b"TERM", b"HUP"):
            self._visit.interrupt()
        return True

    def _start(self, command: str | None) -> bool:
        if self._visit is not None or self._over:
            return False
        # The answer to the request goes out before anything else does.
        self._visit = self._begin(self, command, self._size)
        early, self._early = self._early, b""
        if early:
            self._visit.received(early)
        return True

    # -- what comes and goes ---------------------------------------------

    def dataReceived(self, data: bytes) -> None:
        if self._visit is None:
            self._early = (self._early + data)[:LONGEST_COMMAND]
        else:
            self._visit.received(data)

    def extReceived(self, dataType: int, data: bytes) -> None:
        """There is nothing it could be for."""

    def eofReceived(self) -> None:
        if self._visit is not None:
            self._visit.ended_input()

    def closeReceived(self) -> None:
        self._end()
        # What is left cannot be sent any more.
        self.buf, self.extBuf = b"", []
        self.loseConnection()

    def closed(self) -> None:
        self._end()

    def _end(self) -> None:
        self._over = True
        visit, self._visit = self._visit, None
        if visit is not None:
            visit.gone()

    def startWriting(self) -> None:
        if self._visit is not None:
            self._visit.drained()

    def addWindowBytes(self, data: int) -> None:
        super().addWindowBytes(data)
        if not self.buf and self._visit is not None:
            self._visit.drained()

    @property
    def full(self) -> bool:
        """The client does not read: what more is sent waits here."""
        return bool(self.buf)

    def send(self, data: bytes) -> None:
        """Send to the client; thrown away if too much is waiting for it already."""
        if not self._over and not self.localClosed and len(self.buf) < MOST_BUFFERED:
            self.write(data)

    def send_error(self, data: bytes) -> None:
        """Send as what went wrong."""
        if not self._over and not self.localClosed:
            self.writeExtended(1, data)

    def finish(self, status: int) -> None:
        """All is said: tell how it went, and close."""
        if self._over or self.localClosed:
            return
        self.conn.sendRequest(self, b"exit-status", struct.pack(">L", status))
        self.loseConnection()


class Connection(SSHConnection):
    """One visitor's connection.

    :param begin: for its channels.
    :param ended: called when it is over.
    """

    transport: Any
    _log = _quiet

    def __init__(self, begin: Callable[..., Visit], ended: Callable[[], None]) -> None:
        super().__init__()
        self._begin = begin
        self._ended = ended

    def ssh_CHANNEL_OPEN(self, packet: bytes) -> None:
        """Refuse without a fuss what is not offered."""
        kind, rest = getNS(packet)
        if kind != b"session" or len(self.channels) >= MOST_CHANNELS:
            sender = struct.unpack(">L", rest[:4])[0]
            refusal = struct.pack(">2L", sender, OPEN_ADMINISTRATIVELY_PROHIBITED)
            words = NS(b"there are sessions here, a few of them, and nothing else")
            self.transport.sendPacket(MSG_CHANNEL_OPEN_FAILURE, refusal + words + NS(b""))
            return
        super().ssh_CHANNEL_OPEN(packet)

    def getChannel(
        self, channelType: bytes, windowSize: int, maxPacket: int, data: bytes
    ) -> Channel:
        channel = Channel(
            self._begin, remoteWindow=windowSize, remoteMaxPacket=maxPacket, conn=self, data=data
        )
        channel.avatar = None
        return channel

    def gotGlobalRequest(self, requestType: bytes, data: bytes) -> int:
        """Forwarding of ports, for the most part."""
        return 0

    def packetReceived(self, messageNum: int, packet: bytes) -> None:
        try:
            super().packetReceived(messageNum, packet)
        except (KeyError, struct.error, IndexError, ConchError):
            # It speaks of a channel that is closed, or makes no sense.
            self.transport.sendDisconnect(DISCONNECT_BY_APPLICATION, b"that makes no sense")

    def serviceStopped(self) -> None:
        super().serviceStopped()
        self._ended()


class Transport(SSHServerTransport):
    """The encrypted connection, with what is good today of what Conch has."""

    supportedCompressions = [b"none"]
    _log = _quiet

    def __init__(self, gone: Callable[[Transport], None]) -> None:
        super().__init__()
        self._gone = gone
        self._packets = 0
        #: Nobody has logged in yet.
        self.stranger = True
        self.supportedCiphers = [c for c in _CIPHERS if c in SSHServerTransport.supportedCiphers]
        self.supportedMACs = [m for m in _MACS if m in SSHServerTransport.supportedMACs]
        known = SSHServerTransport.supportedKeyExchanges
        self.supportedKeyExchanges = [x for x in _EXCHANGES if x in known]
        self.supportedPublicKeys = [b"ssh-ed25519"]

    def sendExtInfo(self, extensions: list[tuple[bytes, bytes]]) -> None:
        """Say which signatures visitors may prove themselves with, not which the host has."""
        super().sendExtInfo([(b"server-sig-algs", b",".join(_SIGNATURES))])

    def dispatchMessage(self, messageNum: int, payload: bytes) -> None:
        """Take a message; of strangers not just any, and not any number of them."""
        if not self.stranger:
            super().dispatchMessage(messageNum, payload)
            return
        self._packets += 1
        if self._packets > MOST_PACKETS:
            self._drop("it sends too much")
        elif messageNum not in _IN_THE_CLEAR and not self.isEncrypted("in"):
            self._drop("it does not encrypt")
        else:
            try:
                super().dispatchMessage(messageNum, payload)
            except Exception as e:
                # Conch takes it for granted that they make sense.
                self._drop(f"{type(e).__name__}: {e}")

    def _drop(self, why: str) -> None:
        _quiet.info("a stranger's connection is dropped: {reason}", reason=why)
        self.buf = b""
        self.cut()

    def cut(self) -> None:
        """End the connection at once, whether the other side reads or not."""
        connection: Any = self.transport
        if connection is not None:
            connection.abortConnection()

    def receiveError(self, reasonCode: int, description: bytes) -> None:
        """The other side says goodbye, which is no error."""

    def connectionLost(self, reason: Failure | None = None) -> None:
        super().connectionLost(reason)
        self._gone(self)

    def end(self, words: str) -> None:
        """Say goodbye."""
        self.sendDisconnect(DISCONNECT_BY_APPLICATION, words.encode())


class ServerFactory(Factory):
    """Makes a transport for each visitor.

    :param key: the host's.
    """

    noisy = False
    _log = Logger()

    def __init__(self, clock: IReactorTime, key: Key, gate: Gate) -> None:
        self._clock = clock
        self._gate = gate
        self.privateKeys = {b"ssh-ed25519": key}
        self.publicKeys = {b"ssh-ed25519": key.public()}
        self.transports: set[Transport] = set()
        self.strangers: dict[Transport, IDelayedCall] = {}

    def buildProtocol(self, addr: IAddress | None) -> Transport | None:
        if len(self.strangers) >= MOST_STRANGERS:
            # Not the newest: that may be somebody with a key, while the others just sit there.
            self._log.warn("too many connections that do not log in: dropping the oldest")
            oldest = next(iter(self.strangers))
            self._leave_out(oldest)
            oldest.cut()
        transport = Transport(self._forget)
        transport.factory = self  # type: ignore[assignment]
        self.transports.add(transport)
        # Also those that never come to log in are not waited for.
        self.strangers[transport] = self._clock.callLater(PATIENCE, transport.cut)
        return transport

    def known(self, transport: Transport) -> None:
        """Somebody has logged in."""
        transport.stranger = False
        self._leave_out(transport)

    def _leave_out(self, transport: Transport) -> None:
        timer = self.strangers.pop(transport, None)
        if timer is not None and timer.active():
            timer.cancel()

    def _forget(self, transport: Transport) -> None:
        self.transports.discard(transport)
        self._leave_out(transport)

    def getService(self, transport: Transport, name: bytes) -> Callable[[], SSHService] | None:
        """Where everybody begins."""
        if name != UserAuth.name or transport not in self.strangers:
            return None
        return lambda: UserAuth(self._clock, self._gate)
