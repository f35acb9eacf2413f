"""Loops that cannot die: the safety net below the events."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from twisted.application.service import Service
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

__all__ = ["Periodic"]


class Periodic(Service):
    """Calls a coroutine function every ``interval`` seconds, whatever it raises.

    Rounds never overlap: the next waits for the one before.  Stopping waits
    for the round in flight.

    :ivar last_success: when a round last ended well (the clock's seconds), or
        None; health is told by its age, not by whether the loop runs.
    """

    _log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        what: str,
        interval: float,
        work: Callable[[], Awaitable[None]],
        *,
        at_once: bool = False,
    ) -> None:
        self.setName(what)
        self.what = what
        self.interval = interval
        self.last_success: float | None = None
        self._at_once = at_once
        self._clock = clock
        self._work = work
        self._loop: LoopingCall | None = None
        self._done: Deferred[None] = succeed(None)

    def startService(self) -> None:
        super().startService()
        # A LoopingCall waits for the Deferred of a round before it schedules
        # the next, and its own Deferred fires after the round in flight.
        self._loop = LoopingCall(lambda: Deferred.fromCoroutine(self._round()))
        self._loop.clock = self._clock
        self._done = self._loop.start(self.interval, now=self._at_once).addBoth(lambda _: None)

    def stopService(self) -> Deferred[None]:
        super().stopService()
        if self._loop is not None and self._loop.running:
            self._loop.stop()
        self._loop = None
        waiter: Deferred[None] = Deferred()
        self._done.addBoth(lambda _: waiter.callback(None))
        return waiter

    @property
    def health(self) -> tuple[str, float, float | None]:
        """Its name, its interval and when a round last ended well."""
        return (self.what, self.interval, self.last_success)

    async def _round(self) -> None:
        try:
            await self._work()
        except Exception:
            self._log.failure("{what} failed, the next round will try again", what=self.what)
        else:
            self.last_success = self._clock.seconds()
