"""Launchers whose wall clock is wrong."""

from __future__ import annotations

from random import Random

from proof.chaos.faults.harm import Harm, some_of
from proof.chaos.interface import Farm, FarmLauncher

__all__ = ["FAULTS"]

MINUTE, HOUR = 60.0, 3600.0


class _Skewed(Harm):
    """The clock of one launcher jumps, goes on from there, and jumps back."""

    nearest = 0.0
    farthest = 0.0
    lasts = (2.0, 20.0)

    def __init__(self) -> None:
        super().__init__()
        self.struck: FarmLauncher | None = None

    async def harm(self, farm: Farm, rng: Random) -> None:
        launcher = self.struck = some_of(rng, farm.launchers, "launcher")
        seconds = rng.choice((1, -1)) * rng.uniform(self.nearest, self.farthest)
        launcher.skew(seconds)
        farm.note(f"the clock of launcher {launcher.number} is {seconds:+.0f} s ahead")

    async def mend(self, farm: Farm) -> None:
        if self.struck is not None:
            self.struck.skew(0.0)
            farm.note(f"the clock of launcher {self.struck.number} is right")
        self.struck = None


class Minutes(_Skewed):
    """Some minutes, either way."""

    name = "clock-minutes"
    nearest, farthest = MINUTE, 15 * MINUTE


class Hours(_Skewed):
    """Hours, either way."""

    name = "clock-hours"
    nearest, farthest = HOUR, 30 * HOUR


class Jumps(_Skewed):
    """Now this time, now that."""

    name = "clock-jumps"
    lasts = (3.0, 10.0)

    async def harm(self, farm: Farm, rng: Random) -> None:
        launcher = self.struck = some_of(rng, farm.launchers, "launcher")
        farm.note(f"the clock of launcher {launcher.number} jumps about")
        while await self.meanwhile(farm, rng.uniform(0.1, 1.5)):
            launcher.skew(rng.choice((1, -1)) * rng.choice((1.0, MINUTE, HOUR, 100 * HOUR)))
        launcher.skew(0.0)


FAULTS: tuple[type[Harm], ...] = (Minutes, Hours, Jumps)
