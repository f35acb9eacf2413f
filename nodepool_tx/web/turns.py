"""Long work in short turns of the reactor."""

from __future__ import annotations

from collections.abc import Iterable

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

__all__ = ["Turns"]

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
