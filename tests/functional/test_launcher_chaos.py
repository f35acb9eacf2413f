"""Everything at once: what a farm goes through in a bad year, within half a minute."""

from __future__ import annotations

import json
import os
import random
import time
from collections.abc import Mapping
from typing import Any

from kazoo.exceptions import BadVersionError, NoNodeError
from twisted.internet import reactor

from tests.functional.launcher.process import LauncherProcess
from tests.functional.launcher.requesters import Crowd
from tests.functional.launcher.scene import Scene
from tests.functional.launcher.settings import (
    at_zookeeper,
    configuration,
    host,
    provider,
    slots,
)
from tests.nodescan.contract import asynchronous
from tests.servers.proxy import Proxy

#: How long things go wrong, and the seed of what goes wrong; longer runs find more.
SECONDS = int(os.environ.get("TEST_CHAOS_SECONDS", "15"))
SEED = os.environ.get("TEST_CHAOS_SEED")

SHELF = [host(f"fake-shelf-{n}", "small", jobs=2) for n in range(3)]

WISHES = [["small"], ["large"], ["small", "small"], ["small", "large"], ["small"] * 3]


def some_configuration(rng: random.Random) -> dict[str, Any]:
    """One in which all wishes can be served."""
    rack = [
        host("fake-0", "small", jobs=2),
        host("fake-1", "small", jobs=rng.choice([1, 2, 3])),
        host("fake-2", "small", jobs=2),
        host("fake-large", "large", "small"),
    ]
    providers = [provider("rack", *rack, node_attributes={"version": rng.randrange(3)})]
    if rng.random() < 0.5:
        shelf = rng.sample(SHELF, 2)
        limit = rng.choice([-1, 2])
        providers.append({**provider("shelf", *shelf), "max-concurrency": limit})
    return configuration(*providers)


class Chaos(Scene):
    timeout = SECONDS + 150

    def at_proxy(self, number: int, config: Mapping[str, Any]) -> dict[str, Any]:
        return at_zookeeper(config, self.proxies[number].port, chroot=self.root, timeout=1)

    @asynchronous
    async def test_all_at_once(self) -> None:
        """Two launchers with one farm serve forty requesters, whatever is done to them."""
        seed = int(SEED or random.SystemRandom().randrange(1_000_000))
        print(f"seed {seed}")
        rng = random.Random(seed)
        self.proxies = [Proxy(reactor, self.server.port) for _ in range(2)]
        for proxy in self.proxies:
            self.addCleanup(proxy.stop)
        config = some_configuration(rng)
        pair = [
            self.launcher(self.at_proxy(number, config), environ={"NODEPOOL_CLEANUP_INTERVAL": "2"})
            for number in range(2)
        ]
        for launcher in pair:
            launcher.start()
        requester = await self.requester()
        crowd = self.crowd(requester, 40, WISHES, seed=seed)
        troubles = [self.kill, self.stop, self.cut, self.silence, self.delete, self.reload_both]
        end = time.monotonic() + SECONDS
        count = 0
        while time.monotonic() < end:
            await self.sleep(rng.uniform(0.05, 1.0))
            number = rng.randrange(2)
            await rng.choice([*troubles, self.reload])(rng, number, pair)
            crowd.check()
            count += 1
        await self.settle(crowd, pair, some_configuration(rng))
        await self.until("all is quiet", self.quiet)
        ledger = requester.ledger
        print(
            f"{count} troubles, {ledger.served} requests served, longest wait "
            f"{max(ledger.waits):.1f} s, longest silence {ledger.longest_silence():.1f} s"
        )
        self.assert_nothing_unforeseen()

    async def settle(
        self, crowd: Crowd, pair: list[LauncherProcess], final: dict[str, Any]
    ) -> None:
        """Let everybody finish, and bring a last configuration into force.

        Before that one with all providers: a launcher leaves nodes alone whose provider was
        taken out of its configuration while it was down.
        """
        self.final = final
        everything = configuration(
            provider("rack", *final["providers"][0]["pools"][0]["nodes"]), provider("shelf", *SHELF)
        )
        for config in (everything, final):
            for number, launcher in enumerate(pair):
                launcher.write(self.at_proxy(number, config))
            if config is everything:
                await crowd.finish()
            await self.until_all_free(slots(config))

    async def quiet(self) -> bool:
        names = {one["name"] for one in self.final["providers"]}
        pools = [pool["provider_name"] for pool in await self.sight.components("pool")]
        return (
            await self.sight.requests() == {}
            and await self.sight.children("/nodepool/draining") == []
            and await self.sight.owners() == dict.fromkeys(names, 2)
            and len(await self.sight.components("launcher")) == 2
            and sorted(pools) == sorted([*names, *names])
        )

    # -- troubles --------------------------------------------------------

    async def kill(self, rng: random.Random, number: int, pair: list[LauncherProcess]) -> None:
        pair[number].kill()
        await self.sleep(rng.uniform(0, 0.5))
        pair[number].start()

    async def stop(self, rng: random.Random, number: int, pair: list[LauncherProcess]) -> None:
        # One that has hardly begun has no handler of the signal yet.
        self.assertIn((await pair[number].stop()).status, (0, -15))
        pair[number].start()

    async def cut(self, rng: random.Random, number: int, pair: list[LauncherProcess]) -> None:
        self.proxies[number].cut()

    async def silence(self, rng: random.Random, number: int, pair: list[LauncherProcess]) -> None:
        self.proxies[number].blackhole(answers_only=rng.random() < 0.5)
        await self.sleep(rng.uniform(0, 2.0))
        self.proxies[number].heal()

    async def reload(self, rng: random.Random, number: int, pair: list[LauncherProcess]) -> None:
        pair[number].write(self.at_proxy(number, some_configuration(rng)))

    async def reload_both(
        self, rng: random.Random, number: int, pair: list[LauncherProcess]
    ) -> None:
        config = some_configuration(rng)
        for each, launcher in enumerate(pair):
            launcher.write(self.at_proxy(each, config))

    async def delete(self, rng: random.Random, number: int, pair: list[LauncherProcess]) -> None:
        """As an operator does who deletes nodes that are free."""
        client = self.sight.client
        for node in await self.sight.nodes():
            if not node.free or rng.random() < 0.7:
                continue
            path = f"/nodepool/nodes/{node.id}"
            try:
                data, stat = await client.get(path)
                found = json.loads(data)
                if found["state"] == "ready" and not found["allocated_to"]:
                    changed = json.dumps({**found, "state": "deleting"}).encode()
                    await client.set(path, changed, stat.version)
            except (NoNodeError, BadVersionError):
                continue
