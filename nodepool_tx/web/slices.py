"""Long answers, encoded a slice at a time and no faster than the client reads them.

Ten thousand nodes are several megabytes of JSON.  Made at once they would keep
the reactor busy for a tenth of a second and, with a slow client, lie about in
memory; here each slice has a turn of its own, and waits while the connection is
full.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IPushProducer, IReactorTime
from twisted.web.server import Request
from zope.interface import implementer

__all__ = ["PATIENCE", "send_body", "send_slices"]

#: Bytes of a long body that are handed to the connection at a time.
PIECE = 64 * 1024

#: Seconds after which a client that reads nothing is given up.
PATIENCE = 60.0


def send_slices(
    request: Request, clock: IReactorTime, pieces: Iterator[bytes], per_slice: int = 100
) -> Deferred[None]:
    """Write all pieces; fires when they are written, cancelling it stops.

    :param per_slice: how many pieces to make in one turn of the reactor.
    """
    if request.method == b"HEAD":
        pieces = iter(())
    slices = _Slices(request, clock, pieces, per_slice)
    slices.begin()
    return slices.done


async def send_body(
    request: Request, clock: IReactorTime, body: bytes, content_type: str
) -> bytes | None:
    """Headers for a body that is there already, and the body if it is short.

    A long one is written, no faster than it is read.
    """
    request.setHeader("Content-Type", content_type)
    if not request.responseHeaders.hasHeader("Cache-Control"):
        request.setHeader("Cache-Control", "no-store")
    request.setHeader("Content-Length", str(len(body)))
    if len(body) <= PIECE:
        return body
    pieces = (body[at : at + PIECE] for at in range(0, len(body), PIECE))
    await send_slices(request, clock, pieces, 1)
    return None


@implementer(IPushProducer)
class _Slices:
    """Writes the next slice, until there is none, except while it is paused."""

    def __init__(
        self, request: Request, clock: IReactorTime, pieces: Iterator[bytes], per_slice: int
    ) -> None:
        self.done: Deferred[None] = Deferred(lambda _: self._close())
        self._request = request
        self._clock = clock
        self._pieces = pieces
        self._per_slice = per_slice
        self._open = True
        #: The next slice; while paused, the end of patience.
        self._timer: IDelayedCall | None = None

    def begin(self) -> None:
        """Write the first slice."""
        self._request.registerProducer(self, True)
        self._write()

    def _write(self) -> None:
        self._timer = self._clock.callLater(0, self._write)
        try:
            piece = b"".join(islice(self._pieces, self._per_slice))
        except Exception:
            # The status is sent: break off, so that nobody takes it for all there is.
            self._close()
            self._abort()
            raise
        if piece:
            self._request.write(piece)
        else:
            self._close()
            self.done.callback(None)

    def pauseProducing(self) -> None:
        """The connection is full."""
        if self._open:
            self._rest()
            self._timer = self._clock.callLater(PATIENCE, self._give_up)

    def resumeProducing(self) -> None:
        """What was written has gone."""
        if self._open:
            self._rest()
            self._timer = self._clock.callLater(0, self._write)

    def stopProducing(self) -> None:
        """The connection is gone."""
        self._close()

    def _give_up(self) -> None:
        self._timer = None
        self._abort()

    def _abort(self) -> None:
        transport: Any = self._request.transport
        transport.abortConnection()

    def _rest(self) -> None:
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = None

    def _close(self) -> None:
        if self._open:
            self._open = False
            self._rest()
            # One that was cut off has no channel any more.
            if self._request.channel is not None:
                self._request.unregisterProducer()
