"""How often each user may ask this launcher for anything."""

from __future__ import annotations

from collections import OrderedDict

from twisted.internet.interfaces import IReactorTime

__all__ = ["Rates"]

#: Users that are remembered at a time.
REMEMBERED = 10_000


class Rates:
    """For each user a bucket of a minute's requests, filled at an even pace."""

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        #: What is left in each, and when that was.
        self._buckets: OrderedDict[tuple[str, str], tuple[float, float]] = OrderedDict()

    def take(self, owner: tuple[str, str], per_minute: int) -> float:
        """Count one request; 0, or seconds until another may be if this one may not."""
        now = self._clock.seconds()
        pace = per_minute / 60
        left, since = self._buckets.pop(owner, (float(per_minute), now))
        left = min(float(per_minute), left + max(0.0, now - since) * pace)
        wait = 0.0
        # A clock's seconds are not exact.
        if left >= 1 - 1e-9:
            left -= 1
        else:
            wait = (1 - left) / pace
        self._buckets[owner] = (left, now)
        while len(self._buckets) > REMEMBERED:
            self._buckets.popitem(last=False)
        return wait
