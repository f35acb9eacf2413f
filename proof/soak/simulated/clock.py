"""Clocks that can be asked how much is still to be called, and that keep nothing else."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from typing import Any

from benchmarks.virtual_clock import VirtualClock
from tests.property.farm import ProcessClock

__all__ = ["LauncherClock", "SoakClock"]


class SoakClock(VirtualClock):
    """Time of the whole simulation."""

    def compact(self) -> None:
        """Forget calls that were called off, which a heap keeps until they would have been due."""
        self._heap[:] = [each for each in self._heap if each[2].active()]
        heapq.heapify(self._heap)


class LauncherClock(ProcessClock):
    """Time as one launcher sees it, with any number of calls under way."""

    _full = 1000

    def callLater(self, delay: float, call: Callable[..., object], *args: Any, **kw: Any) -> Any:
        later = self._clock.callLater(delay, self._call, call, args, kw)
        self._calls.append(later)
        if len(self._calls) > self._full:
            self.compact()
            self._full = 2 * len(self._calls) + 1000
        if self.dead:
            later.delay(1e12)
        return later

    def compact(self) -> None:
        """Forget calls that were made or called off."""
        self._calls = self.getDelayedCalls()
