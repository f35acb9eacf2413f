"""What all faults have in common."""

from __future__ import annotations

from collections.abc import Iterable
from random import Random
from typing import TypeVar

from kazoo.exceptions import KazooException
from twisted.internet.defer import DeferredLock, TimeoutError

from proof.chaos.interface import Farm

__all__ = ["Harm", "NothingToStrike", "Surprise", "some_of"]

T = TypeVar("T")


class NothingToStrike(Exception):
    """What the fault would do harm to is not there at present."""


class Surprise(AssertionError):
    """What was struck did what it must never do, whatever is done to it."""


class Harm:
    """A fault whose parts are in `harm` and `mend`.

    One of these is for one strike.  What is not there, and a ZooKeeper that does not answer,
    are noted and no more: the fault does without, and mends what it can.

    :ivar over: whether it has been healed; what takes time in `harm` ends early then.
    """

    name = ""
    #: How often it comes, compared with others.
    weight = 1.0
    #: For how many seconds it lasts: at least, and at most.
    lasts = (1.0, 8.0)

    def __init__(self) -> None:
        self.over = False
        self._alone = DeferredLock()

    async def strike(self, farm: Farm, rng: Random) -> None:
        """Do it, unless it has been healed before it could.

        :raises Surprise: see there.
        """
        await self._alone.acquire()
        try:
            if not self.over:
                await self.harm(farm, rng)
        except NothingToStrike as e:
            farm.note(f"{self.name}: nothing to strike: {e}")
        except KazooException as e:
            farm.note(f"{self.name}: {e!r}")
        finally:
            self._alone.release()

    async def heal(self, farm: Farm) -> None:
        """Put it right, once the strike is over; a second time does nothing more."""
        self.over = True
        await self._alone.acquire()
        try:
            await self.mend(farm)
        except (KazooException, TimeoutError) as e:
            farm.note(f"{self.name} is not healed: {e!r}")
        finally:
            self._alone.release()

    async def harm(self, farm: Farm, rng: Random) -> None:
        """Do it.

        :raises NothingToStrike: there is nothing to do it to.
        """
        raise NotImplementedError

    async def mend(self, farm: Farm) -> None:
        """Undo it; by default it is over by itself."""

    async def meanwhile(self, farm: Farm, seconds: float) -> bool:
        """Let time pass, less if it gets healed; whether it still lasts."""
        end = farm.reactor.seconds() + seconds
        while not self.over and (left := end - farm.reactor.seconds()) > 0:
            await farm.sleep(min(0.1, left))
        return not self.over


def some_of(rng: Random, things: Iterable[T], what: str) -> T:
    """One of these.

    :raises NothingToStrike: there are none.
    """
    found = list(things)
    if not found:
        raise NothingToStrike(f"there is no {what}")
    return rng.choice(found)
