"""Connections, and what nobody may do to us over them.

Design note: limits
-------------------
A request must arrive whole within a time, whatever the pace of its bytes, so a
client that trickles holds a connection only so long.  Its head and body are
bounded.  So is the number of connections: descriptors are needed for ZooKeeper
and for machines.  Connections that wait for another request end after a while.

Design note: many requests at once
----------------------------------
A client may send a thousand requests in one piece, and many clients may.  They
are answered in their order, but only for some milliseconds in one turn of the
reactor, and none whose client has not read the answers before.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.internet.protocol import connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.http import HTTPChannel
from twisted.web.resource import IResource
from twisted.web.server import Request, Site

from nodepool_tx.web.turns import Share

__all__ = ["LimitedChannel", "LimitedRequest", "LimitedSite"]

#: Bytes of one line, and of the request's whole head.
LONGEST_LINE = 8 * 1024
LARGEST_HEAD = 16 * 1024
MOST_HEADERS = 100

#: Bytes of a body; what is asked for over HTTP is small.
LARGEST_BODY = 64 * 1024

#: Seconds in which a request must have arrived, from its first byte.
WHOLE_REQUEST = 20.0

#: Seconds that a connection may be without a request.
IDLE = 60.0

#: Seconds in which a connection that is to end must have ended.
FAREWELL = 15.0

#: Connections at a time.
MOST_CONNECTIONS = 2500


class LimitedRequest(Request):
    """Takes no more body than it should."""

    channel: Any

    def handleContentChunk(self, data: bytes) -> None:
        """A piece of the body, announced in advance or not."""
        if self.content is not None and self.content.tell() + len(data) > LARGEST_BODY:
            self.channel.refuse(413, "Content Too Large")
        else:
            super().handleContentChunk(data)


class LimitedChannel(HTTPChannel):
    """One connection.

    :ivar answering: a request is whole, and its answer is not.
    """

    MAX_LENGTH = LONGEST_LINE
    totalHeadersSize = LARGEST_HEAD
    maxHeaders = MOST_HEADERS
    factory: LimitedSite
    transport: Any

    def __init__(self) -> None:
        super().__init__()
        self._deadline: IDelayedCall | None = None
        self._farewell: IDelayedCall | None = None
        self.answering = False
        self._held = False
        self._refused = False
        self._over = False

    def dataReceived(self, data: bytes) -> None:
        """See how long this has been going on."""
        if self._refused:
            return
        if not self.answering and self._deadline is None:
            self._deadline = self.factory.reactor.callLater(WHOLE_REQUEST, self._too_slow)
        super().dataReceived(data)

    def lineLengthExceeded(self, line: bytes) -> None:
        """Somebody sends a line without an end."""
        self.refuse(431, "Request Header Fields Too Large")

    def allHeadersReceived(self) -> None:
        """Look at the announced length before anything is read."""
        if self.length is not None and self.length > LARGEST_BODY:
            self.refuse(413, "Content Too Large")
        super().allHeadersReceived()

    def allContentReceived(self) -> None:
        """The request is whole."""
        if self._refused:
            return
        self._rest()
        self.answering = True
        # What follows is kept, as it is while a request is being answered.
        self._handlingRequest = True
        self.setRawMode()
        if self._waitingForTransport:
            self._held = True
        else:
            self.factory.share.do(self._answer)

    def _answer(self) -> None:
        if not self._over:
            super().allContentReceived()

    def rawDataReceived(self, data: bytes) -> None:
        """Also of a client that does not read, no more is taken than can be kept."""
        super().rawDataReceived(data)
        kept = sum(map(len, self._dataBuffer))
        if self._waitingForTransport and kept > self._optimisticEagerReadSize:
            self._networkProducer.pauseProducing()

    def resumeProducing(self) -> None:
        """The client has read what there was."""
        super().resumeProducing()
        if self._held:
            self._held = False
            self.factory.share.do(self._answer)

    def requestDone(self, request: Any) -> None:
        """It is answered; another may follow."""
        self.answering = False
        super().requestDone(request)

    def timeoutConnection(self) -> None:
        """It was idle for too long."""
        self.end()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """It is over."""
        self._over = True
        self._rest()
        if self._farewell is not None:
            self._farewell.cancel()
            self._farewell = None
        self.factory.left(self)
        super().connectionLost(reason)

    def refuse(self, status: int, words: str) -> None:
        """Say why, and hear nothing more from this client."""
        if self._refused:
            return
        self._refused = True
        self.transport.write(
            b"HTTP/1.1 %d %s\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
            % (status, words.encode())
        )
        self.end()

    def _too_slow(self) -> None:
        self._deadline = None
        self.refuse(408, "Request Timeout")

    def end(self) -> None:
        """Send what is to be sent, in bounded time, and nothing after it."""
        self._rest()
        if self._farewell is None:
            self._farewell = self.factory.reactor.callLater(FAREWELL, self.cut)
        self.loseConnection()

    def cut(self) -> None:
        """End it at once."""
        if self._farewell is not None and self._farewell.active():
            self._farewell.cancel()
        self._farewell = None
        self.transport.abortConnection()

    def _rest(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None


class LimitedSite(Site):
    """All connections.

    :ivar share: of the reactor's time, for all answers together.
    :ivar turned_away: connections refused because there were too many.
    """

    _log = Logger()
    noisy = False
    # The base class wraps its channels, for HTTP/2, which needs TLS.
    protocol: Any = LimitedChannel
    reactor: IReactorTime

    def __init__(
        self, resource: IResource, reactor: IReactorTime, most: int = MOST_CONNECTIONS
    ) -> None:
        super().__init__(resource, requestFactory=LimitedRequest, timeout=IDLE, reactor=reactor)
        self._most = most
        #: Oldest first.
        self._channels: dict[LimitedChannel, None] = {}
        self.share = Share(reactor)
        self.turned_away = 0

    @property
    def connections(self) -> int:
        """How many there are."""
        return len(self._channels)

    def buildProtocol(self, addr: Any) -> Any:
        """A channel for a new connection; None turns it away.

        Whoever just holds connections keeps nobody out: the oldest over which
        nothing is being answered makes room.
        """
        if len(self._channels) >= self._most:
            idle = next((each for each in self._channels if not each.answering), None)
            if idle is None:
                self.turned_away += 1
                return None
            self.left(idle)
            idle.cut()
        channel = super().buildProtocol(addr)
        self._channels[channel] = None
        return channel

    def left(self, channel: LimitedChannel) -> None:
        """A connection is over."""
        self._channels.pop(channel, None)

    def end_all(self) -> None:
        """End every connection, whatever it is in the middle of."""
        for channel in tuple(self._channels):
            channel.end()

    def startFactory(self) -> None:
        """No access log of the base class's, and no clock for it."""

    def stopFactory(self) -> None:
        """Connections outlast the port they came through."""

    def log(self, request: Any) -> None:
        """Dashboards ask all day long: of interest only to who looks for it."""
        self._log.debug(
            "{client} {method} {uri} {status}",
            client=request.getClientAddress(),
            method=request.method,
            uri=request.uri,
            status=request.code,
        )
