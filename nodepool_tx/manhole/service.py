"""The console's service: listens where the configuration says, and knows who is there."""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IDelayedCall, IListeningPort
from twisted.internet.task import deferLater
from twisted.logger import Logger

from nodepool_tx.audit import Audit
from nodepool_tx.auth.interface import Principal
from nodepool_tx.auth.log_ins import LogIns
from nodepool_tx.config.operations import Manhole, Operations
from nodepool_tx.manhole.scene import Scene
from nodepool_tx.work import SingleFlight

if TYPE_CHECKING:
    from nodepool_tx.manhole.keys import AuthorizedKeys
    from nodepool_tx.manhole.sessions import Session
    from nodepool_tx.manhole.ssh import Connection, ServerFactory, Transport

__all__ = ["ManholeService"]

#: Sessions at a time.
MOST_SESSIONS = 10
#: Seconds after which a console that could not be had is tried again.
RETRY = 60.0
#: Seconds that sessions are given to hear goodbye.
FAREWELL = 1.0


class ManholeService(Service):
    """The console over SSH; also what lets people in.

    :param operations: gives the settings of the moment; without those of a
        console there is none.
    :param directory: for the host's key and the histories, if nothing else is said.
    """

    _log = Logger()

    def __init__(
        self,
        reactor: Any,
        operations: Callable[[], Operations],
        scene: Scene,
        log_ins: LogIns,
        audit: Audit,
        directory: str,
    ) -> None:
        self.setName("manhole")
        self._reactor = reactor
        self._operations = operations
        self._scene = scene
        self._log_ins = log_ins
        self._audit = audit
        self._directory = directory
        self._active: Manhole | None = None
        self._keys: AuthorizedKeys | None = None
        self._factory: ServerFactory | None = None
        self._port: IListeningPort | None = None
        self._retry: IDelayedCall | None = None
        self._session_type: type[Session] | None = None
        self._sessions: dict[Transport, Session] = {}
        self._count = 0
        self._changing = SingleFlight(self._change, "changing the console")

    # -- life ------------------------------------------------------------

    def startService(self) -> None:
        super().startService()
        self._changing.wake()

    def stopService(self) -> Deferred[None]:
        """End all sessions, with a word to those who are there."""
        super().stopService()
        self._changing.wake()
        return self._changing.idle()

    def reconfigure(self) -> None:
        """The configuration may have changed, and the audit log with it."""
        if self.running:
            self._audit.use(self._operations().audit_log)
            self._changing.wake()

    @property
    def listening_on(self) -> tuple[str, int] | None:
        """Address and port; None while there is no console."""
        if self._port is None:
            return None
        host: Any = self._port.getHost()
        return str(host.host), int(host.port)

    @property
    def sessions(self) -> tuple[Session, ...]:
        """Everybody who has logged in and is there."""
        return tuple(self._sessions.values())

    async def _change(self) -> None:
        wanted = self._operations().manhole if self.running else None
        if wanted == self._active and (wanted is None or self._port is not None):
            return
        if self._retry is not None and self._retry.active():
            self._retry.cancel()
        self._retry = None
        if self._active is not None:
            await self._close()
        self._active = wanted
        if wanted is not None:
            self._open(wanted)
            if self._port is None:
                self._retry = self._reactor.callLater(RETRY, self._changing.wake)

    def _open(self, settings: Manhole) -> None:
        # Most launchers have no console, and these take a megabyte.
        from nodepool_tx.manhole.keys import AuthorizedKeys, UnusableKey, host_key
        from nodepool_tx.manhole.sessions import Session
        from nodepool_tx.manhole.ssh import ServerFactory

        self._session_type = Session
        path = settings.host_key or os.path.join(self._directory, "host_key")
        try:
            key = host_key(path)
        except UnusableKey as e:
            self._log.error("there is no console: {reason}", reason=str(e))
            return
        named = settings.authorized_keys
        self._keys = None if named is None else AuthorizedKeys(named)
        self._factory = ServerFactory(self._reactor, key, self)
        try:
            self._port = self._reactor.listenTCP(
                settings.port, self._factory, interface=settings.listen_address
            )
        except (CannotListenError, ValueError) as e:
            self._log.error("there is no console: {reason}", reason=str(e))
            return
        if not _is_loopback(settings.listen_address):
            self._log.warn(
                "the console listens on {address}, where others than this machine can reach it",
                address=settings.listen_address,
            )
        address, port = self.listening_on or ("", 0)
        self._log.info(
            "the console listens on {address}, port {port}; its key is {fingerprint}",
            address=address,
            port=port,
            fingerprint="SHA256:" + _fingerprint(key),
        )
        if self._keys is not None:
            # Whatever is wrong with them is said now.
            len(self._keys)

    async def _close(self) -> None:
        port, self._port = self._port, None
        if port is not None:
            await maybeDeferred(port.stopListening)
        factory, self._factory = self._factory, None
        if factory is None:
            return
        for session in self.sessions:
            session.end("the console is closed")
        for transport in tuple(factory.transports):
            if transport.transport is not None:
                transport.transport.loseConnection()
        for _ in range(10):
            if not factory.transports:
                return
            await deferLater(self._reactor, FAREWELL / 10)
        for transport in tuple(factory.transports):
            # It does not listen.
            connection: Any = transport.transport
            if connection is not None:
                connection.abortConnection()

    # -- who may come in; see Gate ---------------------------------------

    def key_user(self, blob: bytes) -> str | None:
        """See :class:`nodepool_tx.manhole.userauth.Gate`."""
        return None if self._keys is None else self._keys.user_of(blob)

    def passwords(self) -> bool:
        """See :class:`nodepool_tx.manhole.userauth.Gate`."""
        return self._active is not None and self._active.passwords

    def log_in(self, user: str, password: str, address: str) -> Awaitable[Principal]:
        """See :class:`nodepool_tx.manhole.userauth.Gate`."""
        group = None if self._active is None else self._active.ldap_group
        return self._log_ins.log_in(user, password, way_in="console", address=address, group=group)

    def refused(self, user: str, address: str, why: str) -> None:
        """See :class:`nodepool_tx.manhole.userauth.Gate`."""
        shown = user[:100]
        self._log.warn(
            "log-in of {user!r} at the console from {address} refused: {reason}",
            user=shown,
            address=address,
            reason=why,
        )
        self._audit.record(shown, f"console {address}", "log-in", f"refused: {why}", how="key")

    def come_in(self, transport: Transport, principal: Principal) -> Connection | None:
        """See :class:`nodepool_tx.manhole.userauth.Gate`."""
        if self._factory is None or self._session_type is None or not self.running:
            return None
        if len(self._sessions) >= MOST_SESSIONS:
            address = str(transport.transport.getPeer().host)  # type: ignore[union-attr]
            self._audit.record(
                principal.name, f"console {address}", "log-in", "refused: too many sessions"
            )
            return None
        self._count += 1
        self._factory.known(transport)
        session = self._session_type(
            self._reactor,
            self._scene,
            self._audit,
            transport,
            principal,
            self._count,
            os.path.join(self._directory, "history"),
            lambda _: self._forget(transport),
        )
        self._sessions[transport] = session
        session.record("log-in", "session begins", how=principal.how)
        return session.connection()

    def _forget(self, transport: Transport) -> None:
        self._sessions.pop(transport, None)


def _is_loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return address == "localhost"


def _fingerprint(key: Any) -> str:
    from twisted.conch.ssh.keys import FingerprintFormats

    return str(key.public().fingerprint(FingerprintFormats.SHA256_BASE64))
