"""One SSH connection that goes as far as a proven host key, and no further.

Why conch's client and not a subprocess or a library with threads: the wire
format, the key exchanges and the signature checks are there, on the reactor.
What this subclass changes:

* **It stops early.**  The server's signature over the exchange proves that it
  holds the key it showed; with that checked we hang up, before any cipher is
  set up.  So every cipher and MAC in use can be offered, also those conch
  cannot run: servers hardened to ChaCha20, GCM and encrypt-then-MAC answer.
* **It asks for given key families only**, which is how one learns all keys.
* **It trusts nobody.**  A server that sends rubbish, signs with another key
  or names a huge Diffie-Hellman group fails this one exchange, at once and
  without a traceback in the log.
"""

from __future__ import annotations

import secrets
import struct
from collections.abc import Sequence
from typing import Any

from twisted.conch.ssh.common import MP, NS, getMP, getNS
from twisted.conch.ssh.transport import (
    DISCONNECT_BY_APPLICATION,
    MSG_DISCONNECT,
    SSHClientTransport,
)
from twisted.internet.defer import Deferred, fail, succeed
from twisted.python.failure import Failure

from nodepool_tx.nodescan.hostkeys import HostKey, KeyFamily, families_among, family_of
from nodepool_tx.nodescan.interface import KeyExchangeFailed, NotSSH, ScanError

__all__ = ["HostKeyExchange"]

#: Servers may talk before their version line, but not for ever.
_MAX_GREETING = 8192
#: The longest step of the reactor here: some 9 ms for 4096 bits and this exponent.
_MAX_GROUP_BITS = 4096
_EXPONENT_BITS = 256
_MAX_KEY_BYTES = 16384

_CIPHERS = [
    *(b"chacha20-poly1305@openssh.com", b"aes256-gcm@openssh.com", b"aes128-gcm@openssh.com"),
    *(b"aes256-ctr", b"aes192-ctr", b"aes128-ctr"),
    *(b"aes256-cbc", b"aes192-cbc", b"aes128-cbc", b"3des-cbc"),
]
_MACS = [
    *(b"hmac-sha2-256-etm@openssh.com", b"hmac-sha2-512-etm@openssh.com"),
    *(b"umac-128-etm@openssh.com", b"umac-64-etm@openssh.com", b"hmac-sha1-etm@openssh.com"),
    *(b"hmac-sha2-256", b"hmac-sha2-512", b"umac-128@openssh.com", b"umac-64@openssh.com"),
    *(b"hmac-sha1", b"hmac-sha1-96", b"hmac-md5"),
]


class HostKeyExchange(SSHClientTransport):
    """The client's side of one key exchange.

    :ivar announced: fires with the key families the server has, as soon as it
        has said so; with none of them if the exchange ended before that.
    :ivar outcome: fires with the proven key, or fails with a
        :class:`~nodepool_tx.nodescan.interface.ScanError`, in both cases once
        the connection is closed.  Cancelling it breaks the connection off.
    :ivar agreed: the family this exchange settled on.
    """

    #: None until there is a connection.
    transport: Any

    ourVersionString = b"SSH-2.0-nodepool_tx"
    supportedCiphers = _CIPHERS
    supportedMACs = _MACS
    supportedCompressions = [b"none", b"zlib@openssh.com", b"zlib"]
    _dhMaximalGroupSize = _MAX_GROUP_BITS

    def __init__(self, host: str, port: int, offer: Sequence[KeyFamily]) -> None:
        self.supportedPublicKeys = [name for family in offer for name in family.algorithms]
        self.announced: Deferred[tuple[KeyFamily, ...]] = Deferred()
        self.outcome: Deferred[HostKey] = Deferred(lambda _: self._break_off())
        self.agreed: KeyFamily | None = None
        self._host = host
        self._port = port
        self._greeting = b""
        self._shown: HostKey | None = None
        self._result: HostKey | ScanError | None = None

    @property
    def speaks_ssh(self) -> bool:
        """The server has sent its version line."""
        return bool(self.gotVersion)

    @property
    def turned_away(self) -> bool:
        """An OpenSSH server is there, but has too many logins under way just now."""
        return self._greeting.startswith(b"Exceeded MaxStartups")

    def silence(self, seconds: float) -> NotSSH:
        """What to report when the time is over and no version line came."""
        said = f"has only said {self._excerpt()}" if self._greeting else "has said nothing"
        return self._not_ssh(f"takes the connection but {said} in {seconds:g} s")

    def close(self) -> None:
        """Break off what is not finished; nobody waits for the outcome any more."""
        self.outcome.addErrback(lambda _: None)
        self.outcome.cancel()

    # What the transport tells us.

    def dataReceived(self, data: bytes) -> None:
        if self._result is not None:
            return
        try:
            if self.gotVersion:
                super().dataReceived(data)
            else:
                self._listen(data)
        except Exception as error:
            self._fail(f"sent what cannot be read ({type(error).__name__}: {error})")

    def connectionLost(self, reason: Failure | None = None) -> None:
        if self._result is None:
            self._result = self._hung_up()
        self._announce(())
        if not self.outcome.called:
            if isinstance(self._result, HostKey):
                self.outcome.callback(self._result)
            else:
                self.outcome.errback(self._result)

    # What conch tells us.

    def dispatchMessage(self, messageNum: int, payload: bytes) -> None:
        # Several packets may come in one read; nothing after the end counts.
        if self._result is None:
            super().dispatchMessage(messageNum, payload)

    def ssh_KEXINIT(self, packet: bytes) -> None:
        exchanges, algorithms = (field.split(b",") for field in getNS(packet[16:], 2)[:2])
        if not set(exchanges) & set(self.supportedKeyExchanges):
            self._fail(f"has no key exchange method in common with us, only {_names(exchanges)}")
            return
        if not set(algorithms) & set(self.supportedPublicKeys):
            self._fail(f"has no host key of a type that can be checked, only {_names(algorithms)}")
            return
        super().ssh_KEXINIT(packet)
        if self._result is None:
            self.agreed = family_of(self.keyAlg)
            self._announce(families_among(algorithms))

    def ssh_KEX_DH_GEX_GROUP(self, packet: bytes) -> Any:
        # Also carries the answers of the other exchanges, which name no group.
        if self.kexAlg.startswith(b"diffie-hellman-group-exchange-"):
            prime: int = getMP(packet)[0]
            if prime.bit_length() > _MAX_GROUP_BITS:
                self._fail(f"wants a Diffie-Hellman group of {prime.bit_length()} bits")
                return None
        return super().ssh_KEX_DH_GEX_GROUP(packet)

    def verifyHostKey(self, hostKey: bytes, fingerprint: bytes) -> Deferred[bool]:
        """Remember what is shown; the signature is checked after this."""
        if len(hostKey) > _MAX_KEY_BYTES:
            self._fail(f"showed a host key of {len(hostKey)} bytes")
            return fail(ValueError("too long"))
        self._shown = HostKey(hostKey)
        if self.agreed is None or self._shown.type != self.agreed.name:
            self._fail(f"showed a key of another type than agreed, {self._shown.type}")
            return fail(ValueError("wrong type"))
        return succeed(True)

    def _keySetup(self, sharedSecret: bytes, exchangeHash: bytes) -> None:
        # Conch calls this when the signature was good.
        assert self._shown is not None
        self._result = self._shown
        farewell = struct.pack(">L", DISCONNECT_BY_APPLICATION) + NS(b"host key seen") + NS(b"")
        self.sendPacket(MSG_DISCONNECT, farewell)
        self.transport.loseConnection()

    def sendDisconnect(self, reason: int, desc: bytes | str) -> None:
        """Conch found fault with the server."""
        text = desc if isinstance(desc, str) else desc.decode("utf-8", "replace")
        self._fail(f"failed the key exchange ({_one_line(text)})")

    def receiveError(self, reasonCode: int, description: bytes) -> None:
        text = _one_line(description.decode("utf-8", "replace"))
        self._fail(f"refused the key exchange: {text} (code {reasonCode})")

    def receiveUnimplemented(self, seqnum: int) -> None:
        self._fail("does not know the key exchange it has offered")

    def receiveDebug(self, alwaysDisplay: bool, message: bytes, lang: bytes) -> None:
        """Servers may chat; nobody listens."""

    def _startEphemeralDH(self) -> None:
        # Conch has OpenSSL check that the group is a safe prime: 190 ms.  What
        # the server signs includes our share, which proves what we ask for
        # whatever the group; nothing secret is ever sent.
        self._exponent = secrets.randbits(_EXPONENT_BITS)
        self.dhSecretKeyPublicMP = MP(pow(self.g, self._exponent, self.p))

    def _finishEphemeralDH(self, remoteDHpublicKey: int) -> bytes:
        shared: bytes = MP(pow(remoteDHpublicKey, self._exponent, self.p))
        return shared

    # Our own part.

    def _listen(self, data: bytes) -> None:
        """Wait for the version line, which other lines may come before."""
        self._greeting += data
        start = 0 if self._greeting.startswith(b"SSH-") else self._greeting.find(b"\nSSH-") + 1
        if start or self._greeting.startswith(b"SSH-"):
            end = self._greeting.find(b"\n", start) + 1
            if end:
                super().dataReceived(self._greeting[start:end])
                if self._greeting[end:] and self._result is None:
                    super().dataReceived(self._greeting[end:])
                return
        if len(self._greeting) > _MAX_GREETING:
            self._end(self._not_ssh(f"says {self._excerpt()} and goes on like this"))

    def _announce(self, families: tuple[KeyFamily, ...]) -> None:
        if not self.announced.called:
            self.announced.callback(families)

    def _hung_up(self) -> ScanError:
        if self.gotVersion:
            return self._error("broke the connection off during the key exchange")
        if self._greeting:
            return self._not_ssh(f"said {self._excerpt()} and hung up")
        return self._not_ssh("hung up before it said anything")

    def _excerpt(self) -> str:
        return repr(_one_line(self._greeting.decode("utf-8", "replace"), 60))

    def _not_ssh(self, what: str) -> NotSSH:
        return NotSSH(
            self._host,
            self._port,
            f"the port {what}; is an SSH server there, and does it take more connections?",
        )

    def _error(self, what: str) -> KeyExchangeFailed:
        return KeyExchangeFailed(
            self._host, self._port, f"the SSH server {what}; its log should say more"
        )

    def _fail(self, what: str) -> None:
        self._end(self._error(what))

    def _end(self, result: ScanError) -> None:
        if self._result is None:
            self._result = result
            self.transport.abortConnection()

    def _break_off(self) -> None:
        self._result = self._error("was not waited for")
        if self.transport is not None:
            self.transport.abortConnection()


def _one_line(text: str, length: int = 160) -> str:
    lines = text.strip().splitlines() or [""]
    return lines[0].rstrip()[:length]


def _names(algorithms: Sequence[bytes]) -> str:
    return ", ".join(name.decode("ascii", "replace") for name in algorithms)
