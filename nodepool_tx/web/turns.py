"""Long work in short turns of the reactor."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime

__all__ = ["Share", "Turns"]

#: Seconds after which others get their turn.
TURN = 0.01


class Turns:
    """Says, on being asked again and again, when to let others have theirs."""

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._began = clock.seconds()
        self._spent = 0.0

    @property
    def spent(self) -> float:
        """Seconds in our own turns so far."""
        return self._spent + self._clock.seconds() - self._began

    async def breathe(self) -> None:
        """Return at once, or in another turn if this one has lasted long enough."""
        if self._clock.seconds() - self._began >= TURN:
            await self.pause()

    async def pause(self) -> None:
        """Return in another turn."""
        self._spent += self._clock.seconds() - self._began
        waiter: Deferred[None] = Deferred(lambda _: call.cancel())
        call = self._clock.callLater(0, waiter.callback, None)
        await waiter
        self._began = self._clock.seconds()

    async def gather(self, pieces: Iterable[str]) -> list[str]:
        """All the pieces, a few at a time."""
        gathered: list[str] = []
        for piece in pieces:
            gathered.append(piece)
            await self.breathe()
        return gathered


class Share:
    """Does short work in order, for no more than a while in one turn of the reactor.

    What there is no time for waits until others have had theirs, so nobody who
    asks for very much keeps the reactor from its other work.

    :param most: seconds in a turn.
    """

    def __init__(self, clock: IReactorTime, most: float = TURN) -> None:
        self._clock = clock
        self._most = most
        self._spent = 0.0
        self._waiting: deque[Callable[[], None]] = deque()
        self._next: IDelayedCall | None = None

    def __len__(self) -> int:
        return len(self._waiting)

    def do(self, work: Callable[[], None]) -> None:
        """Do it now if there is time, or else in its turn."""
        if self._next is None:
            self._do(work)
        else:
            self._waiting.append(work)

    def _do(self, work: Callable[[], None]) -> None:
        began = self._clock.seconds()
        work()
        now = self._clock.seconds()
        self._spent += now - began
        if self._spent >= self._most and self._next is None:
            self._next = self._clock.callLater(0, self._begin_turn)

    def _begin_turn(self) -> None:
        self._next, self._spent = None, 0.0
        try:
            while self._waiting and self._next is None:
                self._do(self._waiting.popleft())
        finally:
            if self._waiting and self._next is None:
                # Something failed, which the reactor logs; the others are to have their turn.
                self._next = self._clock.callLater(0, self._begin_turn)
