"""One client that listens to events (server-sent events, as browsers know them)."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IPushProducer
from twisted.web.server import Request
from zope.interface import implementer

__all__ = ["EventStream"]

#: Milliseconds after which a browser connects again.
_GREETING = b"retry: 3000\n\n"
_RESYNC = b"event: resync\ndata: {}\n\n"


@implementer(IPushProducer)
class EventStream:
    """A connection that is written to as long as its client reads.

    :ivar topics: what it wants to hear of.
    :ivar behind: its client does not keep up, and something was not told.
    :ivar done: fires when it has ended; cancelling ends it.
    """

    def __init__(
        self, request: Request, topics: frozenset[str], gone: Callable[[EventStream], None]
    ) -> None:
        self.topics = topics
        self.behind = False
        self.done: Deferred[None] = Deferred(lambda _: self._close())
        self._request = request
        self._gone = gone
        self._open = True
        self._paused = False

    def open(self, missed: bool) -> None:
        """Begin.

        :param missed: say at once that everything is to be read again.
        """
        request = self._request
        request.setHeader("Content-Type", "text/event-stream; charset=utf-8")
        request.setHeader("Cache-Control", "no-store")
        # nginx would collect events before it passes them on.
        request.setHeader("X-Accel-Buffering", "no")
        request.registerProducer(self, True)
        request.write(_GREETING + (_RESYNC if missed else b""))

    def tell(self, piece: bytes, *, important: bool = True) -> bool:
        """Write something, unless the client is behind; whether that was done.

        :param important: whoever misses it must read everything again.
        """
        if not self._open:
            return False
        if self._paused:
            self.behind = self.behind or important
            return False
        self._request.write(piece)
        return True

    def end(self) -> None:
        """There will be nothing more."""
        if self._open:
            self._close()
            self.done.callback(None)

    def _close(self) -> None:
        if self._open:
            self._open = False
            # One that was cut off has no channel any more.
            if self._request.channel is not None:
                self._request.unregisterProducer()
            self._gone(self)

    # -- as a producer ---------------------------------------------------

    def pauseProducing(self) -> None:
        """The client reads more slowly than we write."""
        self._paused = True

    def resumeProducing(self) -> None:
        """All that was written has gone."""
        self._paused = False
        if self.behind and self._open:
            self.behind = False
            self._request.write(_RESYNC)

    def stopProducing(self) -> None:
        """The connection is gone; whoever waits for :attr:`done` cancels it."""
        self._close()
