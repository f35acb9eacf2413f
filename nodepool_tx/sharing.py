"""One piece of work for all who ask for the same at the same time.

A host with many slots is asked about once per slot, often in the same moment.
Without sharing, a dead one would take as many places in the queue, and a live
one would meet so many connections that its SSH server turns some away.  A
thousand launches of one label want to know the same flavor at once.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

__all__ = ["Shared"]

K = TypeVar("K", bound=Hashable)
T = TypeVar("T")


class Shared(Generic[K, T]):
    """Work in flight, by what it is about.  Nothing is kept once it is done."""

    def __init__(self) -> None:
        self._running: dict[K, _Work[T]] = {}

    def join(self, key: K, start: Callable[[], Deferred[T]]) -> Deferred[T]:
        """Wait for the work on ``key``; ``start`` it if nobody else has.

        Cancelling the Deferred returned leaves the work to the others; when
        nobody is left, the work is cancelled.
        """
        work = self._running.get(key)
        if work is None:
            work = self._running[key] = _Work()
            joined = work.join(lambda: self._abandon(key))
            work.task = start()
            work.task.addBoth(self._done, key, work)
            return joined
        return work.join(lambda: self._abandon(key))

    def _done(self, result: T | Failure, key: K, work: _Work[T]) -> None:
        if self._running.get(key) is work:
            del self._running[key]
        work.tell(result)

    def _abandon(self, key: K) -> None:
        work = self._running.pop(key)
        if work.task is not None:
            work.task.cancel()


class _Work(Generic[T]):
    """One piece of work and those who wait for it."""

    def __init__(self) -> None:
        self.task: Deferred[None] | Deferred[T] | None = None
        self._waiting: list[Deferred[T]] = []

    def join(self, abandon: Callable[[], None]) -> Deferred[T]:
        def leave(deferred: Deferred[T]) -> None:
            if deferred not in self._waiting:
                # The work is done; those before it are being told, and cancel it.
                return
            self._waiting.remove(deferred)
            if not self._waiting:
                abandon()

        joined: Deferred[T] = Deferred(leave)
        self._waiting.append(joined)
        return joined

    def tell(self, result: T | Failure) -> None:
        waiting, self._waiting = self._waiting, []
        for deferred in waiting:
            if deferred.called:
                continue
            if isinstance(result, Failure):
                deferred.errback(result)
            else:
                deferred.callback(result)
