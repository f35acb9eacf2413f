"""So many at a time, the rest in line."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from twisted.internet.defer import Deferred

__all__ = ["Lane"]

T = TypeVar("T")


class Lane(Generic[T]):
    """Starts work on what is put in, first come first served.

    Unlike a chain of Deferreds it goes through any number of items that are
    done at once without a call within a call.

    :param width: how many are worked on at a time.
    :param start: begins the work on one; its Deferred does not fail.
    """

    def __init__(self, width: int, start: Callable[[T], Deferred[Any]]) -> None:
        self._width = width
        self._start = start
        self._line: deque[T] = deque()
        self._running = 0
        self._pumping = False

    def put(self, item: T) -> None:
        """Work on it, now or when it is its turn."""
        self._line.append(item)
        self._pump()

    def clear(self) -> tuple[T, ...]:
        """Take out what is in line."""
        line = tuple(self._line)
        self._line.clear()
        return line

    def _pump(self) -> None:
        if self._pumping:
            return
        self._pumping = True
        try:
            while self._line and self._running < self._width:
                self._running += 1
                self._start(self._line.popleft()).addBoth(self._done)
        finally:
            self._pumping = False

    def _done(self, _: object) -> None:
        self._running -= 1
        self._pump()
