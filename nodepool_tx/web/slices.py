"""Long answers, encoded a slice at a time and no faster than the client reads them.

Ten thousand nodes are several megabytes of JSON.  Made at once they would keep
the reactor busy for a tenth of a second and, with a slow client, lie about in
memory; here each slice is made when the one before has gone.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IPullProducer, IReactorTime
from twisted.web.server import Request
from zope.interface import implementer

__all__ = ["send_slices"]

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
    return _Slices(request, clock, pieces, per_slice).done


@implementer(IPullProducer)
class _Slices:
    """Is asked for the next slice whenever the transport has sent the one before."""

    def __init__(
        self, request: Request, clock: IReactorTime, pieces: Iterator[bytes], per_slice: int
    ) -> None:
        self.done: Deferred[None] = Deferred(lambda _: self._close())
        self._request = request
        self._clock = clock
        self._pieces = pieces
        self._per_slice = per_slice
        self._open = True
        self._timer: IDelayedCall | None = None
        request.registerProducer(self, False)

    def resumeProducing(self) -> None:
        """Write the next slice."""
        if not self._open:
            return
        self._rest()
        try:
            piece = b"".join(islice(self._pieces, self._per_slice))
        except Exception:
            # The status is long sent: break off, so that nobody takes it for all there is.
            self._close()
            self._abort()
            raise
        if piece:
            self._timer = self._clock.callLater(PATIENCE, self._give_up)
            self._request.write(piece)
        else:
            self._close()
            self.done.callback(None)

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
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _close(self) -> None:
        if self._open:
            self._open = False
            self._rest()
            # One that was cut off has no channel any more.
            if self._request.channel is not None:
                self._request.unregisterProducer()
