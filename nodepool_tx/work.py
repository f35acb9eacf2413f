"""Work in flight: started without waiting, never lost sight of.

:class:`Tracker` knows every task that runs and can wait for all of them, which
is what lets a service promise that nothing of it runs after its stop.
:class:`SingleFlight` runs one coroutine at a time and once more when it was
asked for meanwhile.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

import attrs
from twisted.internet.defer import CancelledError, Deferred, FirstError
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

__all__ = ["SingleFlight", "Task", "Tracker", "shielded"]

T = TypeVar("T")


def shielded(deferred: Deferred[T]) -> Deferred[T]:
    """Fires as ``deferred`` does; cancelling it leaves ``deferred`` alone."""
    waiter: Deferred[T] = Deferred()

    def succeeded(result: T) -> T:
        if not waiter.called:
            waiter.callback(result)
        return result

    def failed(failure: Failure) -> Failure | None:
        if waiter.called:
            return failure
        # Who waits deals with it; nobody else is to be told.
        waiter.errback(failure)
        return None

    deferred.addCallbacks(succeeded, failed)
    return waiter


@attrs.frozen(eq=False)
class Task:
    """Something in flight: what it is, and since when (seconds, the clock's)."""

    what: str
    since: float
    deferred: Deferred[Any] = attrs.field(repr=False)


class Tracker:
    """Every task that a service has started and not finished."""

    _log = Logger()

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._tasks: dict[Deferred[Any], Task] = {}
        self._waiting: list[Deferred[None]] = []

    def __len__(self) -> int:
        return len(self._tasks)

    def tasks(self) -> tuple[Task, ...]:
        """What is in flight, oldest first."""
        return tuple(self._tasks.values())

    def run(self, what: str, coroutine: Coroutine[Any, Any, T]) -> Deferred[T | None]:
        """Start it.  A failure is logged here and fires as None."""
        deferred: Deferred[T | None] = Deferred.fromCoroutine(coroutine)
        if deferred.called and not deferred.paused:
            return deferred.addErrback(self._failed, what)
        self._tasks[deferred] = Task(what, self._clock.seconds(), deferred)
        deferred.addErrback(self._failed, what)
        deferred.addBoth(self._done, deferred)
        return deferred

    def _failed(self, failure: Failure, what: str) -> None:
        while isinstance(failure.value, FirstError):
            # It waited for several at once.
            failure = failure.value.subFailure
        if not failure.check(CancelledError):
            self._log.failure("{what} failed", failure=failure, what=what)

    def _done(self, result: T, deferred: Deferred[Any]) -> T:
        self._tasks.pop(deferred, None)
        if not self._tasks:
            waiting, self._waiting = self._waiting, []
            for waiter in waiting:
                waiter.callback(None)
        return result

    def idle(self) -> Deferred[None]:
        """Fires when nothing is in flight any more."""
        waiter: Deferred[None] = Deferred(self._forget)
        if self._tasks:
            self._waiting.append(waiter)
        else:
            waiter.callback(None)
        return waiter

    def _forget(self, waiter: Deferred[None]) -> None:
        self._waiting.remove(waiter)

    def cancel(self) -> None:
        """Ask everything in flight to end."""
        for task in self.tasks():
            task.deferred.cancel()


class SingleFlight:
    """Runs a coroutine function, one call at a time.

    A wake-up that comes during a run causes exactly one more run after it.
    Failures are logged and end only the run they happened in.
    """

    _log = Logger()

    def __init__(self, work: Callable[[], Awaitable[None]], what: str = "") -> None:
        self._work = work
        self._what = what or getattr(work, "__qualname__", repr(work))
        self._again = False
        self._running = False
        self._waiting: list[Deferred[None]] = []

    @property
    def running(self) -> bool:
        return self._running

    def wake(self) -> None:
        """Run now, or once more after the present run."""
        self._again = True
        if not self._running:
            # Noted before the work begins, as it may wake us itself.
            self._running = True
            Deferred.fromCoroutine(self._loop()).addBoth(self._ended)

    def idle(self) -> Deferred[None]:
        """Fires when neither a run nor a wake-up is outstanding."""
        waiter: Deferred[None] = Deferred()
        if self._running:
            self._waiting.append(waiter)
        else:
            waiter.callback(None)
        return waiter

    async def _loop(self) -> None:
        while self._again:
            self._again = False
            try:
                await self._work()
            except Exception:
                self._log.failure("{what} failed", what=self._what)

    def _ended(self, _result: object) -> None:
        self._running = False
        waiting, self._waiting = self._waiting, []
        for waiter in waiting:
            waiter.callback(None)
