"""The service at the top: children started in order, stopped in reverse, in time."""

from __future__ import annotations

from twisted.application.service import IService, MultiService
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

__all__ = ["OrderedService"]


class OrderedService(MultiService):
    """A MultiService whose children depend on those before them.

    Each child is stopped only after every later one has stopped.  A child
    that takes longer than ``patience`` seconds is said to, and left behind:
    whatever it held in ZooKeeper ends with the session.
    """

    _log = Logger()

    def __init__(self, clock: IReactorTime, patience: float) -> None:
        super().__init__()
        self._clock = clock
        self._patience = patience

    def stopService(self) -> Deferred[None]:
        self.running = False
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        for child in reversed(list(self)):
            await self._stop_child(child)

    async def _stop_child(self, child: IService) -> None:
        stopped: Deferred[object] = maybeDeferred(child.stopService)
        in_time: Deferred[None] = Deferred()
        timer = self._clock.callLater(self._patience, in_time.callback, None)

        what = child.name or type(child).__name__
        late = True

        def done(result: object) -> None:
            nonlocal late
            if timer.active():
                late = False
                timer.cancel()
                in_time.callback(None)

        stopped.addErrback(lambda f: self._log.failure("{what} stopped badly", f, what=what))
        stopped.addCallback(done)
        await in_time
        if late:
            self._log.warn(
                "{what} did not stop within {seconds:g} s and is left behind",
                what=what,
                seconds=self._patience,
            )
