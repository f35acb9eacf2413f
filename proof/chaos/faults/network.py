"""The network between launchers and ZooKeeper."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from twisted.internet.error import CannotListenError

from proof.chaos.faults.harm import Harm, some_of
from proof.chaos.interface import Farm, FarmLauncher
from tests.servers.proxy import Proxy

__all__ = ["FAULTS"]


class _OnTheWay(Harm):
    """Proxies misbehave until it is healed."""

    def __init__(self) -> None:
        super().__init__()
        self.proxies: list[Proxy] = []

    async def mend(self, farm: Farm) -> None:
        while self.proxies:
            try:
                self.proxies[-1].heal()
            except CannotListenError:
                # It has only just stopped.
                await farm.sleep(0.1)
                continue
            self.proxies.pop()

    def choose(self, farm: Farm, rng: Random) -> tuple[FarmLauncher, Sequence[Proxy]]:
        """A launcher, and its ways to all servers."""
        launcher = some_of(rng, farm.launchers, "launcher")
        self.proxies.extend(launcher.proxies)
        return launcher, launcher.proxies


class Cut(_OnTheWay):
    """All connections of a launcher are reset, once."""

    name = "network-cut"
    weight = 2.0
    lasts = (0.1, 1.0)

    async def harm(self, farm: Farm, rng: Random) -> None:
        launcher, proxies = self.choose(farm, rng)
        for proxy in proxies:
            proxy.cut()
        farm.note(f"the connections of launcher {launcher.number} are cut")


class CutOften(_OnTheWay):
    """No connection of a launcher lasts."""

    name = "network-cut-often"
    lasts = (2.0, 8.0)

    async def harm(self, farm: Farm, rng: Random) -> None:
        launcher, proxies = self.choose(farm, rng)
        farm.note(f"the connections of launcher {launcher.number} are cut again and again")
        while await self.meanwhile(farm, rng.uniform(0.05, 1.0)):
            for proxy in proxies:
                proxy.cut()


class Slow(_OnTheWay):
    """What a launcher sends and hears takes long."""

    name = "network-slow"
    weight = 2.0
    lasts = (2.0, 12.0)

    async def harm(self, farm: Farm, rng: Random) -> None:
        launcher, proxies = self.choose(farm, rng)
        seconds = rng.choice((0.02, 0.1, 0.3, 1.0))
        for proxy in proxies:
            proxy.delay(seconds)
        farm.note(f"all launcher {launcher.number} sends or hears takes {seconds} s")


class Silent(_OnTheWay):
    """What a launcher sends is swallowed, with the answers or only these."""

    name = "network-silent"
    weight = 2.0
    lasts = (0.5, 10.0)

    async def harm(self, farm: Farm, rng: Random) -> None:
        launcher, proxies = self.choose(farm, rng)
        answers_only = rng.random() < 0.5
        for proxy in proxies:
            proxy.blackhole(answers_only=answers_only)
        what = "hears nothing" if answers_only else "hears and says nothing"
        farm.note(f"launcher {launcher.number} {what}")


class Refused(_OnTheWay):
    """A launcher finds no server."""

    name = "network-refused"
    lasts = (0.5, 10.0)

    async def harm(self, farm: Farm, rng: Random) -> None:
        launcher, proxies = self.choose(farm, rng)
        farm.note(f"launcher {launcher.number} is refused by all servers")
        for proxy in proxies:
            await proxy.refuse()


class OneServerAway(_OnTheWay):
    """A launcher is cut off from one of the servers, with or without being told."""

    name = "network-one-server-away"
    weight = 2.0
    lasts = (1.0, 15.0)

    async def harm(self, farm: Farm, rng: Random) -> None:
        launcher = some_of(rng, farm.launchers, "launcher")
        number = rng.randrange(len(launcher.proxies))
        proxy = launcher.proxies[number]
        self.proxies.append(proxy)
        farm.note(f"launcher {launcher.number} is cut off from server {number}")
        if rng.random() < 0.5:
            proxy.blackhole()
            return
        await proxy.refuse()


FAULTS: tuple[type[Harm], ...] = (Cut, CutOften, Slow, Silent, Refused, OneServerAway)
