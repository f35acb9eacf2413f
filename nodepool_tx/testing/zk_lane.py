"""One direction of a connection to a ZooKeeper kept in memory."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Generic, TypeVar

from twisted.internet.interfaces import IDelayedCall, IReactorTime

__all__ = ["Lane"]

T = TypeVar("T")


class Lane(Generic[T]):
    """First in, first out: each item is handled ``delay`` seconds after it was put."""

    def __init__(self, clock: IReactorTime, delay: float, handle: Callable[[T], None]) -> None:
        self._clock = clock
        self._delay = delay
        self._handle = handle
        self._items: deque[tuple[float, T]] = deque()
        self._handling = False
        self._after: list[Callable[[], None]] = []
        self._timer: IDelayedCall | None = None

    @property
    def due(self) -> float | None:
        """When the next item will be handled, by the clock."""
        return None if self._timer is None else self._timer.getTime()

    def put(self, item: T) -> None:
        self._items.append((self._clock.seconds() + self._delay, item))
        if self._timer is None:
            self._timer = self._clock.callLater(self._delay, self._pump)

    def soon(self, call: Callable[[], None]) -> None:
        """Call this after all items that are handled together; at once if none is."""
        if self._handling:
            self._after.append(call)
        else:
            call()

    def handle_now(self, count: int) -> None:
        """Handle the first ``count`` items without waiting for their time."""
        with self._together():
            while count > 0 and self._items:
                count -= 1
                self._handle(self._items.popleft()[1])

    @contextmanager
    def _together(self) -> Iterator[None]:
        within, self._handling = self._handling, True
        try:
            yield
        finally:
            self._handling = within
            if not within:
                after, self._after = self._after, []
                for call in after:
                    call()

    def clear(self) -> None:
        self._items.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _pump(self) -> None:
        self._timer = None
        now = self._clock.seconds()
        items = self._items
        # What is put meanwhile waits for a turn of its own.
        with self._together():
            for _ in range(len(items)):
                if not items or items[0][0] > now:
                    break
                self._handle(items.popleft()[1])
        if items and self._timer is None:
            self._timer = self._clock.callLater(max(0.0, items[0][0] - now), self._pump)
