"""What the launchers say about a request while its maker waits for it."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import CancelledError, Deferred, TimeoutError
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from nodepool_tx.cli.visit import BROKEN, Visit
from nodepool_tx.explain import Explanation, ask
from nodepool_tx.model import NodeRequest

__all__ = ["Told"]

#: Seconds of waiting after which they are asked, and again at the earliest.
ASK_AFTER = 2.0
ASK_AGAIN_AFTER = 5.0

#: Seconds to take a question back.
LEAVING = 1.0


class Told:
    """Asks again and again.

    :param changed: called whenever something was said.
    """

    _log = Logger()

    def __init__(self, visit: Visit, request_id: str, changed: Callable[[], None]) -> None:
        self._visit = visit
        self._request_id = request_id
        self._changed = changed
        self._last: Explanation | None = None
        self._asking: Deferred[None] | None = None
        self._stopped = False
        self._next: IDelayedCall | None = visit.clock.callLater(ASK_AFTER, self._begin)

    def why(self, request: NodeRequest) -> str:
        """What they said last; "" if nobody did, or if the request has gone on since."""
        if self._last is None or self._last.request["state"] != request.state.value:
            return ""
        return self._last.summary

    async def stop(self) -> None:
        """Ask no more, and take back what was asked."""
        self._stopped = True
        if self._next is not None:
            self._next.cancel()
            self._next = None
        asking = self._asking
        if asking is not None:
            asking.cancel()
            try:
                await asking.addTimeout(LEAVING, self._visit.clock)
            except TimeoutError:
                # Launchers remove it after a while.
                return

    def _begin(self) -> None:
        self._next = None
        self._asking = Deferred.fromCoroutine(self._ask())
        self._asking.addErrback(self._failed).addCallback(lambda _: self._ended())

    async def _ask(self) -> None:
        visit = self._visit
        told = await ask(visit.store, self._request_id, config=visit.config)
        heard = told is not None and any(pool.answered for pool in told.pools)
        self._last = told if heard else None
        if not self._stopped:
            self._changed()

    def _failed(self, failure: Failure) -> None:
        if not failure.check(CancelledError, *BROKEN):
            self._log.failure("launchers cannot be asked", failure=failure)

    def _ended(self) -> None:
        self._asking = None
        if not self._stopped:
            self._next = self._visit.clock.callLater(ASK_AGAIN_AFTER, self._begin)
