"""Time that passes as fast as the program gets on, with room for a hundred thousand timers."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable
from typing import Any

from twisted.internet.base import DelayedCall
from twisted.internet.interfaces import IReactorTime
from zope.interface import implementer


@implementer(IReactorTime)
class VirtualClock:
    """What `twisted.internet.task.Clock` is, in a heap: that one sorts all timers for each new one.

    :ivar turns: how many timers were due so far.
    """

    def __init__(self, now: float) -> None:
        self._now = now
        self._heap: list[tuple[float, int, DelayedCall]] = []
        self._numbers = itertools.count()
        self.turns = 0

    def seconds(self) -> float:
        """The time."""
        return self._now

    def callLater(
        self, delay: float, callable: Callable[..., Any], *args: object, **kw: object
    ) -> DelayedCall:
        """Call something after so many seconds."""
        call = DelayedCall(
            self._now + delay, callable, args, kw, lambda call: None, self._enter, self.seconds
        )
        self._enter(call)
        return call

    def getDelayedCalls(self) -> list[DelayedCall]:
        """What is still to be called."""
        return [call for when, _, call in self._heap if call.active() and call.time == when]

    def run_until(self, end: float) -> None:
        """Let everything happen that is due until then, in its order.

        Whatever a timer raises is raised here.
        """
        heap = self._heap
        while heap and heap[0][0] <= end:
            when, _, call = heapq.heappop(heap)
            if not call.active() or when != call.time:
                continue
            if call.delayed_time > 0:
                call.activate_delay()
                self._enter(call)
                continue
            self._now = max(self._now, when)
            self.turns += 1
            call.called = 1
            call.func(*call.args, **call.kw)
        self._now = max(self._now, end)

    def _enter(self, call: DelayedCall) -> None:
        heapq.heappush(self._heap, (call.time, next(self._numbers), call))
