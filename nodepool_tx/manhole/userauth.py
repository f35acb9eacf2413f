"""How visitors of the console show who they are: with a key, or with a password.

Conch's own service for that begins by importing the global reactor, leaves a
password an hour of attempts, and does not say who tried; hence this one.
"""

from __future__ import annotations

import struct
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from twisted.conch.ssh.common import NS, getNS
from twisted.conch.ssh.keys import Key
from twisted.conch.ssh.service import SSHService
from twisted.conch.ssh.transport import DISCONNECT_NO_MORE_AUTH_METHODS_AVAILABLE
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from nodepool_tx.auth.interface import Denied, DirectoryTrouble, Principal

__all__ = ["Gate", "UserAuth"]

#: Seconds within which somebody has to be in; the delays of failures are among them.
PATIENCE = 120.0
#: Refusals after which a connection ends.  Clients offer every key they have.
MOST_KEYS = 20
MOST_PASSWORDS = 3
LONGEST_NAME = 256

MSG_REQUEST, MSG_FAILURE, MSG_SUCCESS, MSG_PK_OK = 50, 51, 52, 60
_CONNECTION = b"ssh-connection"


class Gate(Protocol):
    """Who may come in."""

    def key_user(self, blob: bytes) -> str | None:
        """Whose key this is, if it may log in."""

    def passwords(self) -> bool:
        """People may log in with a password."""

    def log_in(self, user: str, password: str, address: str) -> Awaitable[Principal]:
        """See :meth:`nodepool_tx.auth.log_ins.LogIns.log_in`, whose errors it has."""

    def refused(self, user: str, address: str, why: str) -> None:
        """Somebody could not log in with a key."""

    def come_in(self, transport: Any, principal: Principal) -> SSHService | None:
        """Somebody is known now: gives what they meet, or None if there is no room."""


class UserAuth(SSHService):
    """See RFC 4252."""

    name = b"ssh-userauth"
    transport: Any
    protocolMessages = {MSG_REQUEST: "MSG_USERAUTH_REQUEST"}
    _log = Logger()

    def __init__(self, clock: IReactorTime, gate: Gate) -> None:
        self._clock = clock
        self._gate = gate
        self._deadline: IDelayedCall | None = None
        self._busy: Deferred[None] | None = None
        self._keys_refused = 0
        self._passwords_refused = 0

    def serviceStarted(self) -> None:
        self._deadline = self._clock.callLater(PATIENCE, self._give_up, b"you took too long")

    def serviceStopped(self) -> None:
        if self._deadline is not None and self._deadline.active():
            self._deadline.cancel()
        busy, self._busy = self._busy, None
        if busy is not None:
            busy.cancel()

    def _give_up(self, words: bytes) -> None:
        self.transport.sendDisconnect(DISCONNECT_NO_MORE_AUTH_METHODS_AVAILABLE, words)

    @property
    def _address(self) -> str:
        return str(self.transport.transport.getPeer().host)

    def packetReceived(self, messageNum: int, packet: bytes) -> None:
        try:
            super().packetReceived(messageNum, packet)
        except (struct.error, IndexError):
            self._give_up(b"that makes no sense")

    def ssh_USERAUTH_REQUEST(self, packet: bytes) -> None:
        """Somebody asks to be let in."""
        if self._busy is not None:
            # One at a time: a client that does not wait for answers is up to something.
            self._give_up(b"one at a time")
            return
        raw, service, method, rest = getNS(packet, 3)
        user = raw[:LONGEST_NAME].decode("utf-8", "replace")
        handle: Callable[..., None] | None = {
            b"publickey": self._with_key,
            b"password": self._with_password,
        }.get(method)
        if service != _CONNECTION or handle is None:
            self._fail()
        else:
            handle(user, raw, rest)

    def _fail(self) -> None:
        methods = b"publickey,password" if self._gate.passwords() else b"publickey"
        self.transport.sendPacket(MSG_FAILURE, NS(methods) + b"\0")

    def _enter(self, principal: Principal) -> None:
        meets = self._gate.come_in(self.transport, principal)
        if meets is None:
            self._give_up(b"too many sessions")
            return
        self.transport.sendPacket(MSG_SUCCESS, b"")
        self.transport.setService(meets)

    # -- keys ------------------------------------------------------------

    def _with_key(self, user: str, raw: bytes, rest: bytes) -> None:
        signed = rest[:1] != b"\0"
        algorithm, blob, more = getNS(rest[1:], 2)
        whose = self._gate.key_user(blob)
        if whose is None:
            self._refuse_key(user, "the key is not known")
        elif not signed:
            self.transport.sendPacket(MSG_PK_OK, NS(algorithm) + NS(blob))
        elif self._is_signed(raw, algorithm, blob, getNS(more)[0]):
            self._enter(Principal(whose, "key"))
        else:
            self._refuse_key(user, f"the signature with the key of {whose} is wrong")

    def _refuse_key(self, user: str, why: str) -> None:
        self._keys_refused += 1
        self._gate.refused(user, self._address, why)
        if self._keys_refused >= MOST_KEYS:
            self._give_up(b"too many keys")
        else:
            self._fail()

    def _is_signed(self, user: bytes, algorithm: bytes, blob: bytes, signature: bytes) -> bool:
        if getNS(signature)[0] in (b"ssh-rsa", b"ssh-dss"):
            # With SHA-1, of which nobody can be sure any more.
            return False
        head = NS(self.transport.sessionID) + struct.pack("B", MSG_REQUEST)
        what = (user, _CONNECTION, b"publickey")
        signed = head + b"".join(map(NS, what)) + b"\1" + NS(algorithm) + NS(blob)
        try:
            return bool(Key.fromString(blob).verify(signature, signed))
        except Exception:
            # It is a stranger's text: it may fail in any way.
            return False

    # -- passwords -------------------------------------------------------

    def _with_password(self, user: str, raw: bytes, rest: bytes) -> None:
        if not self._gate.passwords() or rest[:1] != b"\0":
            self._fail()
            return
        try:
            password = getNS(rest[1:])[0].decode("utf-8")
        except UnicodeDecodeError:
            # It is counted as one that is wrong, which it is.
            password = "\ud800"
        self._busy = Deferred.fromCoroutine(self._check(user, password))
        if self._busy.called:
            self._busy = None
        else:
            self._busy.addBoth(self._checked)

    def _checked(self, result: Failure | None) -> None:
        self._busy = None

    async def _check(self, user: str, password: str) -> None:
        try:
            principal = await self._gate.log_in(user, password, self._address)
        except (Denied, DirectoryTrouble):
            self._busy = None
            self._passwords_refused += 1
            if self._passwords_refused >= MOST_PASSWORDS:
                self._give_up(b"too many attempts")
            else:
                self._fail()
        except CancelledError:
            # They are gone.
            return
        except Exception:
            self._log.failure("a log-in could not be checked")
            self._busy = None
            self._give_up(b"it cannot be told who you are")
        else:
            # Entering ends this service, and must not cancel what does it.
            self._busy = None
            self._enter(principal)
