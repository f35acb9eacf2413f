"""Launchers that are killed, stopped, frozen, and started again."""

from __future__ import annotations

import signal
from collections.abc import Sequence
from pathlib import Path
from random import Random

from proof.chaos.faults.harm import Harm, Surprise, some_of
from proof.chaos.interface import Farm, FarmLauncher

__all__ = ["FAULTS", "revive", "running"]

#: Seconds that an orderly stop may take, on a busy machine and whatever else is broken.
STOP_WITHIN = 45.0


def running(farm: Farm) -> Sequence[FarmLauncher]:
    """The launchers whose process there is, frozen ones too."""
    return [launcher for launcher in farm.launchers if launcher.process.running]


def revive(farm: Farm) -> None:
    """Start what does not run, as the init system of a real machine does."""
    for launcher in farm.launchers:
        if not launcher.process.running:
            launcher.process.start()
            farm.note(f"launcher {launcher.number} starts again")


def is_frozen(launcher: FarmLauncher) -> bool:
    """Its process is stopped in its tracks, says the kernel."""
    try:
        stat = Path(f"/proc/{launcher.process.pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return stat.rpartition(")")[2].split()[0] == "T"


class Killed(Harm):
    """One is killed, and starts again at once or after a while."""

    name = "launcher-killed"
    weight = 3.0
    lasts = (0.1, 6.0)

    async def harm(self, farm: Farm, rng: Random) -> None:
        launcher = some_of(rng, running(farm), "launcher that runs")
        launcher.process.kill()
        farm.note(f"launcher {launcher.number} is killed")

    async def mend(self, farm: Farm) -> None:
        revive(farm)


class AllKilled(Harm):
    """Nobody is left for a while."""

    name = "launcher-all-killed"
    lasts = (0.1, 6.0)

    async def harm(self, farm: Farm, rng: Random) -> None:
        for launcher in running(farm):
            launcher.process.kill()
        farm.note("all launchers are killed")

    async def mend(self, farm: Farm) -> None:
        revive(farm)


class KilledOften(Harm):
    """One is killed again as soon as it has begun, at another moment of its start each time."""

    name = "launcher-killed-often"
    lasts = (3.0, 8.0)

    async def harm(self, farm: Farm, rng: Random) -> None:
        launcher = some_of(rng, running(farm), "launcher that runs")
        while await self.meanwhile(farm, rng.uniform(0.2, 2.5)):
            launcher.process.kill()
            farm.note(f"launcher {launcher.number} is killed")
            launcher.process.start()

    async def mend(self, farm: Farm) -> None:
        revive(farm)


class Stopped(Harm):
    """One is asked to stop, does, and starts again.

    It must end with status 0, or from the signal if it has hardly begun and has no handler
    yet; and soon, unless something freezes it meanwhile.
    """

    name = "launcher-stopped"
    weight = 2.0
    lasts = (0.1, 6.0)

    async def harm(self, farm: Farm, rng: Random) -> None:
        stoppable = [launcher for launcher in running(farm) if not is_frozen(launcher)]
        launcher = some_of(rng, stoppable, "launcher that could stop")
        process = launcher.process
        pid = process.pid
        began = asked = farm.reactor.seconds()
        process.send(signal.SIGTERM)
        while process.running and process.pid == pid:
            await farm.sleep(0.02)
            if is_frozen(launcher):
                asked = farm.reactor.seconds()
            if farm.reactor.seconds() > asked + STOP_WITHIN:
                raise Surprise(f"launcher {launcher.number} does not stop")
        spent = farm.reactor.seconds() - began
        farm.note(f"launcher {launcher.number} has stopped after {spent:.2f} s")

    async def mend(self, farm: Farm) -> None:
        revive(farm)


class Frozen(Harm):
    """One does nothing for longer than its session lasts, and then goes on as if nothing was."""

    name = "launcher-frozen"
    weight = 2.0
    lasts = (0.5, 12.0)

    def __init__(self) -> None:
        super().__init__()
        self.struck: FarmLauncher | None = None

    async def harm(self, farm: Farm, rng: Random) -> None:
        awake = [launcher for launcher in running(farm) if not is_frozen(launcher)]
        self.struck = some_of(rng, awake, "launcher that is awake")
        self.struck.process.send(signal.SIGSTOP)
        farm.note(f"launcher {self.struck.number} is frozen")

    async def mend(self, farm: Farm) -> None:
        if self.struck is not None and self.struck.process.running:
            self.struck.process.send(signal.SIGCONT)
            farm.note(f"launcher {self.struck.number} is thawed")
        self.struck = None


FAULTS: tuple[type[Harm], ...] = (Killed, AllKilled, KilledOften, Stopped, Frozen)
