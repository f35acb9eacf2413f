"""Static machines that are away for a while."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from random import Random
from typing import Any

from proof.chaos.faults.harm import Harm, some_of
from proof.chaos.interface import Farm

__all__ = ["FAULTS"]


def machines(provider: Mapping[str, Any]) -> Iterable[str]:
    """The names of the hosts of a static provider, from its configuration."""
    for pool in provider["pools"]:
        for node in pool.get("nodes", ()):
            yield node["name"]


class _Hosts(Harm):
    def __init__(self) -> None:
        super().__init__()
        self.down: list[str] = []

    async def take_down(self, farm: Farm, *names: str) -> None:
        for name in names:
            self.down.append(name)
            await farm.hosts.take_down(name)
        farm.note(f"no longer there: {', '.join(names)}")

    async def mend(self, farm: Farm) -> None:
        while self.down:
            await farm.hosts.bring_up(self.down.pop())


class HostDown(_Hosts):
    """One machine is away."""

    name = "host-down"
    weight = 2.0
    lasts = (0.5, 15.0)

    async def harm(self, farm: Farm, rng: Random) -> None:
        await self.take_down(farm, some_of(rng, farm.hosts.names(), "host"))


class ProviderDown(_Hosts):
    """All machines of a provider are away."""

    name = "host-provider-down"
    lasts = (0.5, 15.0)

    async def harm(self, farm: Farm, rng: Random) -> None:
        there = set(farm.hosts.names())
        configured = farm.launchers[0].configuration["providers"]
        racks = [found for each in configured if (found := there & set(machines(each)))]
        await self.take_down(farm, *sorted(some_of(rng, racks, "provider with hosts")))


class HostFlaps(_Hosts):
    """One machine comes and goes."""

    name = "host-flaps"
    lasts = (3.0, 12.0)

    async def harm(self, farm: Farm, rng: Random) -> None:
        host = some_of(rng, farm.hosts.names(), "host")
        farm.note(f"{host} comes and goes")
        while await self.meanwhile(farm, rng.uniform(0.1, 1.5)):
            await self.take_down(farm, host)
            await self.meanwhile(farm, rng.uniform(0.1, 1.5))
            await self.mend(farm)


FAULTS: tuple[type[Harm], ...] = (HostDown, ProviderDown, HostFlaps)
