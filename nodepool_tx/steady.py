"""Time that does not jump when somebody sets the clock.

Twisted's reactor tells time by the wall clock.  When that is set back by an hour,
everything that was to happen in a second happens in an hour: connections are not kept
alive, clouds are not asked, launches hang.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

__all__ = ["SteadyTime", "install"]

#: How much faster or slower than the true time it runs at most, while it is wrong.
SLEW = 0.1


class SteadyTime:
    """Seconds since 1970, which go on evenly whatever is done to the wall clock.

    After the wall clock was set it approaches it, in ten times the time by which they
    differ: what lasts a while by this clock lasts a tenth more or less until then.
    """

    def __init__(
        self,
        wall: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._wall = wall
        self._monotonic = monotonic
        self._last = monotonic()
        self._now = wall()

    def seconds(self) -> float:
        """The time; never less than it was."""
        monotonic = self._monotonic()
        passed, self._last = monotonic - self._last, monotonic
        most = SLEW * passed
        behind = self._wall() - self._now - passed
        # Asked some fifty times for each job: comparing is cheaper than min and max.
        if not -most <= behind <= most:
            behind = most if behind > 0 else -most
        self._now += passed + behind
        return self._now


def install(reactor: Any) -> None:
    """Have a reactor, and all that waits in it, tell time like this."""
    reactor.seconds = SteadyTime().seconds
