"""How a cloud is called: one after the other, not for ever, and with known errors.

:class:`Pacer` spaces the calls of one provider; :class:`Calls` is the only way
in which the engine calls an adapter.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from typing import TypeVar

import attrs
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from nodepool_tx.events import CloudCalled, Events
from nodepool_tx.providers.cloud.backoff import Backoff
from nodepool_tx.providers.cloud.errors import CloudError, RetryLater

__all__ = ["LONGEST_HOLD_OFF", "TIMEOUT", "CallCount", "Calls", "Pacer"]

T = TypeVar("T")

#: Seconds after which an ordinary call is given up.
TIMEOUT = 60.0

#: How many may go before those who wait, one after the other.
_FIRST_IN_A_ROW = 3

#: Seconds for which a cloud may ask to be left in peace at a time.
LONGEST_HOLD_OFF = 300.0


class Pacer:
    """Gives out turns, in the order asked for and no more than ``rate`` a second.

    :param rate: turns per second; 0 for as many as there are.
    """

    def __init__(self, clock: IReactorTime, rate: float) -> None:
        self._clock = clock
        self._space = 1.0 / rate if rate > 0 else 0.0
        #: No turn is given before this (the clock's seconds).
        self._not_before = -math.inf
        self._queue: OrderedDict[Deferred[None], None] = OrderedDict()
        #: Those who go first, and how many of them have, one after the other.
        self._first: OrderedDict[Deferred[None], None] = OrderedDict()
        self._gone_first = 0
        self._timer: IDelayedCall | None = None

    @property
    def waiting(self) -> int:
        """How many wait for their turn."""
        return len(self._queue) + len(self._first)

    @property
    def held_until(self) -> float | None:
        """When the next turn may be given; None if that is now."""
        return self._not_before if self._not_before > self._clock.seconds() else None

    def turn(self, *, first: bool = False) -> Deferred[None]:
        """Fires when it is the caller's turn, which is taken with that.

        Cancelling it leaves the queue and costs the others nothing.

        :param first: go before those who wait, of whom every fourth turn is
            one's however many go first.
        """
        turn: Deferred[None] = Deferred(self._leave)
        if not self.waiting and self._clock.seconds() >= self._not_before:
            self._take()
            turn.callback(None)
        else:
            (self._first if first else self._queue)[turn] = None
            self._arm()
        return turn

    def hold_off(self, seconds: float) -> None:
        """Give no turn for so long; a shorter wait does not end a longer one."""
        self._not_before = max(self._not_before, self._clock.seconds() + seconds)
        self._disarm()
        self._arm()

    def _take(self) -> None:
        self._not_before = self._clock.seconds() + self._space

    def _leave(self, turn: Deferred[None]) -> None:
        self._queue.pop(turn, None)
        self._first.pop(turn, None)
        if not self.waiting:
            self._disarm()

    def _arm(self) -> None:
        if self.waiting and self._timer is None:
            wait = max(0.0, self._not_before - self._clock.seconds())
            # One in each turn of the reactor, also without spacing.
            self._timer = self._clock.callLater(wait, self._next)

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _next(self) -> None:
        self._timer = None
        if self._first and (self._gone_first < _FIRST_IN_A_ROW or not self._queue):
            self._gone_first += 1
            turn, _ = self._first.popitem(last=False)
        else:
            self._gone_first = 0
            turn, _ = self._queue.popitem(last=False)
        self._take()
        self._arm()
        turn.callback(None)


@attrs.frozen
class CallCount:
    """The calls of one method.

    :ivar seconds: that all of them took together, without the wait for a turn.
    """

    calls: int = 0
    failures: int = 0
    seconds: float = 0.0


class Calls:
    """Calls an adapter's methods: in turn, with a timeout, counted.

    Whatever goes wrong arrives as a :class:`CloudError`.  What the adapter
    should have translated and did not is logged with its traceback.
    """

    _log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        pacer: Pacer,
        provider: str,
        timeout: float = TIMEOUT,
        events: Events | None = None,
    ) -> None:
        self.pacer = pacer
        self._clock = clock
        self._provider = provider
        self._timeout = timeout
        self._events = events or Events()
        self._counts: dict[str, CallCount] = {}
        self._asked_for_peace = Backoff(1.0, LONGEST_HOLD_OFF)
        self._peace_until = -math.inf

    @property
    def counts(self) -> Mapping[str, CallCount]:
        """Calls by method, those that came to an end."""
        return dict(self._counts)

    async def call(
        self,
        method: str,
        begin: Callable[[], Awaitable[T]],
        *,
        timeout: float | None = None,
        first: bool = False,
        paced: bool = True,
    ) -> T:
        """What ``begin()`` comes to, as soon as it is its turn.

        :param method: the adapter's method, for counters and messages.
        :param timeout: in seconds, from the turn on.
        :param first: go before the calls that wait for their turn: what many
            wait for must not wait behind them.
        :param paced: wait for a turn at all.
        :raises CloudError: it failed, or took too long.
        :raises RetryLater: likewise; the next turn comes when the cloud allows.
        """
        if paced:
            await self.pacer.turn(first=first)
        began = self._clock.seconds()
        try:
            result = await self._bounded(method, begin, timeout or self._timeout)
        except CloudError as error:
            self._count(method, began, error)
            if isinstance(error, RetryLater):
                self._hold_off(error)
            raise
        self._count(method, began, None)
        self._asked_for_peace.reset()
        return result

    def _count(self, method: str, began: float, error: CloudError | None) -> None:
        count = self._counts.get(method, CallCount())
        seconds = self._clock.seconds() - began
        self._counts[method] = CallCount(
            count.calls + 1, count.failures + (error is not None), count.seconds + seconds
        )
        self._events.publish(
            CloudCalled(
                provider=self._provider,
                call=method,
                result="ok" if error is None else type(error).__name__,
                seconds=seconds,
            )
        )

    def _hold_off(self, error: RetryLater) -> None:
        now = self._clock.seconds()
        seconds = error.seconds
        if seconds is not None and seconds > 0:
            seconds = min(max(1.0, seconds), LONGEST_HOLD_OFF)
        elif now < self._peace_until:
            # One of several calls that were on their way at the same time.
            return
        else:
            seconds = self._asked_for_peace.next()
        self._peace_until = max(self._peace_until, now + seconds)
        self._log.info(
            "provider {provider} is left in peace for {seconds:.1f} seconds: {error}",
            provider=self._provider,
            seconds=seconds,
            error=error,
        )
        self.pacer.hold_off(seconds)

    def _bounded(
        self, method: str, begin: Callable[[], Awaitable[T]], timeout: float
    ) -> Deferred[T]:
        """Fires with the result, within the timeout whatever the adapter does."""

        async def work() -> T:
            return await begin()

        def give_up(waiter: Deferred[T]) -> None:
            ended.append("cancelled")
            settle()
            task.cancel()

        def too_late() -> None:
            ended.append("timeout")
            task.cancel()
            if not outcome.called:
                # It goes on in spite of being cancelled; nobody waits for that.
                outcome.errback(_no_answer(method, timeout))

        def succeeded(result: T) -> None:
            settle()
            if not outcome.called:
                outcome.callback(result)

        def failed(failure: Failure) -> None:
            settle()
            if not outcome.called:
                outcome.errback(self._translated(failure, method, timeout, ended))

        def settle() -> None:
            if timer.active():
                timer.cancel()

        #: Why the call was cancelled, if it was.
        ended: list[str] = []
        outcome: Deferred[T] = Deferred(give_up)
        timer = self._clock.callLater(timeout, too_late)
        task = Deferred.fromCoroutine(work())
        task.addCallbacks(succeeded, failed)
        return outcome

    def _translated(
        self, failure: Failure, method: str, timeout: float, ended: list[str]
    ) -> Failure:
        error = failure.value
        if isinstance(error, CloudError) or not isinstance(error, Exception):
            return failure
        if isinstance(error, CancelledError) and ended:
            if ended[0] == "cancelled":
                return failure
            return Failure(_no_answer(method, timeout))
        self._log.failure(
            "provider {provider}: the driver let out an error of {method} untranslated",
            failure=failure,
            provider=self._provider,
            method=method,
        )
        translated = CloudError(f"{method} failed: {type(error).__name__}: {error}")
        translated.__cause__ = error
        return Failure(translated)


def _no_answer(method: str, timeout: float) -> CloudError:
    return CloudError(f"{method}: no answer within {timeout:g} seconds")
