"""How long ago things were made, without a look at each of them."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterable

__all__ = ["Ages"]

#: Seconds: quantiles are told to this.
STEP = 10.0

#: Times that are gone and are kept at least, before they are cleared away.
SLACK = 64


class Ages:
    """The ages of a changing number of things, by the times at which they were made."""

    def __init__(self) -> None:
        self._times: Counter[float] = Counter()
        #: The same times, and some that are gone.
        self._heap: list[float] = []
        self._steps: Counter[int] = Counter()
        self._sum = 0.0
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def add(self, made: float) -> None:
        """There is one more."""
        if not self._times[made]:
            heapq.heappush(self._heap, made)
        self._times[made] += 1
        self._steps[int(made // STEP)] += 1
        self._sum += made
        self._count += 1

    def remove(self, made: float) -> None:
        """One that was added is gone."""
        self._times[made] -= 1
        if not self._times[made]:
            del self._times[made]
        step = int(made // STEP)
        self._steps[step] -= 1
        if not self._steps[step]:
            del self._steps[step]
        self._sum -= made
        self._count -= 1
        if not self._count:
            # Not even a rounding error is left.
            self._sum = 0.0
        if len(self._heap) > 2 * len(self._times) + SLACK:
            # An old one stays on top of any number that are gone.
            self._heap = list(self._times)
            heapq.heapify(self._heap)

    def oldest(self, now: float) -> float:
        """Seconds since the first of those that are left was made; 0 for none."""
        while self._heap and self._heap[0] not in self._times:
            heapq.heappop(self._heap)
        return max(0.0, now - self._heap[0]) if self._heap else 0.0

    def total(self, now: float) -> float:
        """All ages together."""
        return max(0.0, now * self._count - self._sum)

    def quantiles(self, wanted: Iterable[float], now: float) -> dict[float, float]:
        """The ages that these parts of all are not above, to :data:`STEP` seconds."""
        if not self._count:
            return {}
        found: dict[float, float] = {}
        steps = sorted(self._steps.items(), reverse=True)
        position, seen = 0, steps[0][1]
        for quantile in sorted(wanted):
            while seen < quantile * self._count and position < len(steps) - 1:
                position += 1
                seen += steps[position][1]
            found[quantile] = max(0.0, now - (steps[position][0] + 0.5) * STEP)
        return found
