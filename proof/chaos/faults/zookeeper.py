"""The servers of ZooKeeper themselves."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from twisted.internet.threads import deferToThread

from proof.chaos.faults.harm import Harm, NothingToStrike, some_of
from proof.chaos.interface import Farm

__all__ = ["FAULTS"]

#: Seconds within which the servers are to serve again; without a majority they do not.
READY_WITHIN = 30.0


async def modes(farm: Farm) -> Sequence[str]:
    """What each server says that it is; empty for those that do not serve."""
    return await deferToThread(lambda: [server.mode() for server in farm.ensemble.servers])


class _Servers(Harm):
    """Servers that are down or frozen until it is healed."""

    def __init__(self) -> None:
        super().__init__()
        self.killed: set[int] = set()
        self.frozen: set[int] = set()

    def up(self, farm: Farm) -> list[int]:
        """The servers that have a process."""
        return [n for n, server in enumerate(farm.ensemble.servers) if server.running]

    def kill(self, farm: Farm, *numbers: int) -> None:
        for number in numbers:
            self.killed.add(number)
            farm.ensemble.kill(number)
        farm.note(f"of ZooKeeper, {_named(numbers)} killed")

    def freeze(self, farm: Farm, *numbers: int) -> None:
        for number in numbers:
            self.frozen.add(number)
            farm.ensemble.servers[number].freeze()
        farm.note(f"of ZooKeeper, {_named(numbers)} frozen")

    async def with_mode(self, farm: Farm, rng: Random, mode: str) -> int:
        found = [number for number, each in enumerate(await modes(farm)) if each == mode]
        number = some_of(rng, found, mode)
        if not farm.ensemble.servers[number].running:
            raise NothingToStrike(f"the {mode} has gone")
        return number

    async def mend(self, farm: Farm) -> None:
        for number in sorted(self.frozen):
            server = farm.ensemble.servers[number]
            if server.running:
                server.thaw()
        for number in sorted(self.killed):
            if not farm.ensemble.servers[number].running:
                farm.ensemble.restart(number)
        concerned = self.frozen | self.killed
        self.frozen, self.killed = set(), set()
        if not concerned:
            return
        farm.note(f"of ZooKeeper, {_named(sorted(concerned))} put right")
        end = farm.reactor.seconds() + READY_WITHIN
        while farm.reactor.seconds() < end:
            found = await modes(farm)
            if all(found[number] for number in concerned):
                return
            await farm.sleep(0.1)
        farm.note("ZooKeeper does not serve again yet")


def _named(numbers: Sequence[int]) -> str:
    words = " and ".join(str(number) for number in numbers)
    return f"server {words} is" if len(numbers) == 1 else f"servers {words} are"


class LeaderKilled(_Servers):
    """The others choose a new one."""

    name = "zookeeper-leader-killed"
    weight = 2.0
    lasts = (0.5, 10.0)

    async def harm(self, farm: Farm, rng: Random) -> None:
        self.kill(farm, await self.with_mode(farm, rng, "leader"))


class FollowerKilled(_Servers):
    """Those who were connected with it go elsewhere."""

    name = "zookeeper-follower-killed"
    lasts = (0.5, 10.0)

    async def harm(self, farm: Farm, rng: Random) -> None:
        self.kill(farm, await self.with_mode(farm, rng, "follower"))


class ServerFrozen(_Servers):
    """One server hangs; its connections stay."""

    name = "zookeeper-server-frozen"
    weight = 2.0
    lasts = (0.5, 12.0)

    async def harm(self, farm: Farm, rng: Random) -> None:
        self.freeze(farm, some_of(rng, self.up(farm), "server of ZooKeeper"))


class MajorityFrozen(_Servers):
    """The one that is left knows that it may not decide."""

    name = "zookeeper-majority-frozen"
    lasts = (0.5, 10.0)

    async def harm(self, farm: Farm, rng: Random) -> None:
        up = self.up(farm)
        if not up:
            raise NothingToStrike("there is no server of ZooKeeper")
        self.freeze(farm, *rng.sample(up, min(len(up), len(farm.ensemble.servers) // 2 + 1)))


class AllRestarted(_Servers):
    """All servers are killed at once, and start again together."""

    name = "zookeeper-all-restarted"
    lasts = (0.1, 6.0)

    async def harm(self, farm: Farm, rng: Random) -> None:
        self.kill(farm, *self.up(farm))


class DiskFull(_Servers):
    """A server cannot write what it is to confirm, and ends or serves no more."""

    name = "zookeeper-disk-full"
    lasts = (2.0, 12.0)

    async def harm(self, farm: Farm, rng: Random) -> None:
        if farm.disk is None:
            raise NothingToStrike("no file system can be mounted here")
        self.killed.add(farm.disk.server)
        farm.disk.fill()
        farm.note(f"of ZooKeeper, the disk of server {farm.disk.server} is full")

    async def mend(self, farm: Farm) -> None:
        if farm.disk is not None and self.killed:
            farm.disk.empty()
            # One that has noticed ends, or is there without serving: whoever makes room for it
            # starts it again.
            farm.ensemble.kill(farm.disk.server)
        await super().mend(farm)


FAULTS: tuple[type[Harm], ...] = (
    LeaderKilled,
    FollowerKilled,
    ServerFrozen,
    MajorityFrozen,
    AllRestarted,
    DiskFull,
)
