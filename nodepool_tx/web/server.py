"""The service that listens for HTTP."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IDelayedCall, IListeningPort
from twisted.logger import Logger

from nodepool_tx.config.schema import Webapp
from nodepool_tx.web.hub import Hub
from nodepool_tx.web.site import LimitedSite

__all__ = ["WebServer"]

#: Seconds until a port that is in use is tried again: at first, and at the most.
FIRST_RETRY = 1.0
LONGEST_RETRY = 60.0


class WebServer(Service):
    """Listens where the configuration says, and moves when it says something else.

    A port that cannot be had is tried again and again; nothing else waits for it.

    :param hub: whose streams end with the service.
    :param wanted: where to listen now, by the configuration in force.
    :ivar bound: host and port that it listens on; None while it does not.
    """

    _log = Logger()

    def __init__(
        self, reactor: Any, site: LimitedSite, hub: Hub, wanted: Callable[[], Webapp]
    ) -> None:
        self.setName("web")
        self._reactor = reactor
        self._site = site
        self._hub = hub
        self._wanted = wanted
        self._listening: Webapp | None = None
        self._port: IListeningPort | None = None
        self._retry: IDelayedCall | None = None
        self._delay = FIRST_RETRY

    @property
    def bound(self) -> tuple[str, int] | None:
        if self._port is None:
            return None
        address: Any = self._port.getHost()
        return (address.host, address.port)

    def startService(self) -> None:
        super().startService()
        self._listen()

    def stopService(self) -> Deferred[None]:
        super().stopService()
        self._rest()
        closed = self._close()
        self._hub.close()
        self._site.end_all()
        return closed

    def reconfigure(self) -> None:
        """A configuration came into force: move, if it names another place.

        Connections to the old place end: who it was closed to must not go on.
        """
        if self.running and self._listening != self._wanted():
            self._rest()
            self._delay = FIRST_RETRY
            self._close().addCallback(lambda _: self._listen())
            self._site.end_all()

    def _listen(self) -> None:
        self._retry = None
        if not self.running or self._port is not None:
            return
        where = self._wanted()
        try:
            self._port = self._reactor.listenTCP(
                where.port, self._site, interface=where.listen_address
            )
        except (CannotListenError, OSError, ValueError) as e:
            self._log.warn(
                "HTTP cannot be served on {address} port {port}, trying again in {delay:g} s: "
                "{reason}",
                address=where.listen_address,
                port=where.port,
                delay=self._delay,
                reason=str(getattr(e, "socketError", e)),
            )
            self._retry = self._reactor.callLater(self._delay, self._listen)
            self._delay = min(2 * self._delay, LONGEST_RETRY)
            return
        self._listening = where
        self._delay = FIRST_RETRY
        host, port = self.bound or ("", 0)
        self._log.info("serving HTTP on {address} port {port}", address=host, port=port)

    def _close(self) -> Deferred[None]:
        port, self._port, self._listening = self._port, None, None
        stopped = port.stopListening() if port is not None else None
        return succeed(None) if stopped is None else stopped

    def _rest(self) -> None:
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None
