"""Sending datagrams to a statsd server that may be anywhere, or nowhere."""

from __future__ import annotations

import errno
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.protocol import DatagramProtocol
from twisted.logger import Logger

from nodepool_tx.metrics.lines import packed
from nodepool_tx.nodescan.connect import look_up
from nodepool_tx.nodescan.interface import AddressFamily, ScanError
from nodepool_tx.periodic import Periodic

__all__ = ["LOOK_AGAIN", "MOST_LINES", "StatsdSender"]

#: Seconds until the server's name is looked up again: it may have moved.
LOOK_AGAIN = 30.0

#: Lines that may wait for the end of a turn; more are given up.
MOST_LINES = 20_000


class _Outlet(DatagramProtocol):
    """Sends to one address."""

    def __init__(self, sender: StatsdSender, host: str, port: int) -> None:
        self._sender = sender
        self._where = (host, port)

    def startProtocol(self) -> None:
        transport: Any = self.transport
        transport.connect(*self._where)

    def connectionRefused(self) -> None:
        """Nobody listens there, as its machine says about something sent before."""
        self._sender.refused()

    def send(self, datagram: bytes) -> None:
        """Send it, or lose it; nobody waits.

        :raises OSError: it cannot be sent now.
        """
        transport: Any = self.transport
        if transport is None:
            # The reactor closes everything when it ends, whoever still has something to say.
            raise OSError(errno.ENOTCONN, "the socket is closed")
        transport.write(datagram)


class StatsdSender(Service):
    """Sends lines: what is given in one turn of the reactor goes together.

    Lines are lost while the server's name is not known; what is wrong is said
    once, and once more when it is right again.

    :ivar lost: lines that could not be sent.
    """

    _log = Logger()

    def __init__(self, reactor: Any, host: str, port: int) -> None:
        self.setName("statsd-sender")
        self._reactor = reactor
        self._host = host
        self._port = port
        self._outlet: _Outlet | None = None
        self._listening: Any = None
        self._address: str | None = None
        self._lines: list[str] = []
        self._flushing: IDelayedCall | None = None
        self._trouble = ""
        self._refused = False
        self._looking: Deferred[Any] | None = None
        self.lost = 0
        self._looks = Periodic(reactor, "looking for statsd", LOOK_AGAIN, self._look, at_once=True)

    def startService(self) -> None:
        super().startService()
        self._looks.startService()

    def stopService(self) -> Deferred[None]:
        """Send what is left and close."""
        super().stopService()
        self._flush()
        stopped = self._looks.stopService()
        # A look-up cannot be taken back, and nobody is to wait for it.
        if self._looking is not None:
            self._looking.cancel()
        return stopped.addCallback(lambda _: self._close())

    # -- sending ---------------------------------------------------------

    def send(self, *lines: str) -> None:
        """Send these at the end of this turn."""
        if self._outlet is None or len(self._lines) + len(lines) > MOST_LINES:
            self.lost += len(lines)
            return
        self._lines += lines
        if self._flushing is None:
            self._flushing = self._reactor.callLater(0, self._flush)

    def _flush(self) -> None:
        if self._flushing is not None and self._flushing.active():
            self._flushing.cancel()
        self._flushing = None
        lines, self._lines = self._lines, []
        for datagram in packed(lines):
            if self._outlet is None:
                return
            try:
                self._outlet.send(datagram)
            except OSError as e:
                self.lost += datagram.count(b"\n") + 1
                self._say(f"it cannot be sent to: {e.strerror or e}")

    def refused(self) -> None:
        """Something sent before has met nobody."""
        self._refused = True
        self._say("nobody listens there")

    # -- looking ---------------------------------------------------------

    async def _look(self) -> None:
        """Find out where the server is, and turn to it if it is elsewhere than before."""
        looking = self._looking = Deferred.fromCoroutine(
            look_up(self._reactor, self._host, self._port)
        )
        try:
            addresses = await looking
        except ScanError as e:
            self._say(str(e))
            return
        except CancelledError:
            return
        # A server that listens on one of them only, as many do, does so on IPv4.
        found = min(addresses, key=lambda each: each.family is not AddressFamily.IPV4).host
        if found != self._address:
            await self._close()
            self._open(found)
        elif not self._refused:
            self._say("")
        self._refused = False

    def _open(self, address: str) -> None:
        outlet = _Outlet(self, address, self._port)
        interface = "::" if ":" in address else ""
        try:
            self._listening = self._reactor.listenUDP(0, outlet, interface=interface)
        except (OSError, ValueError) as e:
            self._say(f"it cannot be sent to: {e}")
            return
        self._outlet, self._address = outlet, address
        self._log.info("statistics go to {address} port {port}", address=address, port=self._port)

    def _close(self) -> Deferred[None]:
        listening, self._listening = self._listening, None
        self._outlet = self._address = None
        closed = listening.stopListening() if listening is not None else None
        return closed if closed is not None else succeed(None)

    def _say(self, trouble: str) -> None:
        """Tell what is wrong, or that nothing is, unless that was told already."""
        if bool(trouble) == bool(self._trouble):
            return
        self._trouble = trouble
        if trouble:
            self._log.warn(
                "statsd at {host} port {port} gets no statistics, trying again every "
                "{seconds:g} s: {reason}",
                host=self._host,
                port=self._port,
                seconds=LOOK_AGAIN,
                reason=trouble,
            )
        else:
            self._log.info("statsd at {host} port {port} is back", host=self._host, port=self._port)
