"""Launchers that are killed at any moment lose nothing and give nothing out twice."""

from __future__ import annotations

import random
import time

from tests.functional.launcher.process import LauncherProcess
from tests.functional.launcher.scene import Scene
from tests.functional.launcher.settings import configuration, host, provider, slots
from tests.nodescan.contract import asynchronous

FARM = configuration(
    provider(
        "rack",
        *(host(f"fake-{n}", "small", jobs=3) for n in range(4)),
        *(host(f"fake-both-{n}", "small", "large", jobs=2) for n in range(2)),
        *(host(f"fake-large-{n}", "large") for n in range(2)),
    )
)
WISHES = [["small"], ["large"], ["small", "small"], ["small", "large"], ["small"]]


class Killed(Scene):
    timeout = 240

    def new_random(self) -> tuple[int, random.Random]:
        seed = random.SystemRandom().randrange(1_000_000)
        print(f"{self.id()}: seed {seed}")
        return seed, random.Random(seed)

    async def everything_is_back(self, *launchers: LauncherProcess) -> None:
        await self.until_all_free(slots(FARM))
        self.assertEqual(await self.sight.requests(), {})
        self.assertEqual(await self.sight.children("/nodepool/draining"), [])
        self.assert_nothing_unforeseen()

    @asynchronous
    async def test_one_launcher_killed_twenty_times(self) -> None:
        """Each of fifty requesters is always served, and each slot is back at the end."""
        seed, rng = self.new_random()
        launcher = self.launcher(self.at_server(FARM, timeout=1))
        requester = await self.requester()
        launcher.start()
        crowd = self.crowd(requester, 50, WISHES, seed=seed)
        began = time.monotonic()
        for _ in range(20):
            # While it starts, or while it serves; how soon that is depends on the machine.
            if rng.random() < 0.6:
                await self.until_logged(launcher, "looks after provider rack")
            await self.sleep(rng.uniform(0, 1.5))
            launcher.kill()
            launcher.start()
            crowd.check()
        await crowd.finish()
        await self.everything_is_back()
        ledger = requester.ledger
        print(
            f"20 kills, {ledger.served} requests served in {time.monotonic() - began:.0f} s, "
            f"longest wait {max(ledger.waits):.1f} s, longest silence "
            f"{ledger.longest_silence():.1f} s"
        )
        self.assertEqual(len(await self.sight.components("launcher")), 1)

    @asynchronous
    async def test_one_of_two_launchers_killed_ten_times(self) -> None:
        """Of two launchers with one provider, each goes on when the other is killed."""
        seed, rng = self.new_random()
        pair = [self.launcher(self.at_server(FARM, timeout=1)) for _ in range(2)]
        requester = await self.requester()
        for launcher in pair:
            launcher.start()
        await self.until_all_free(slots(FARM))
        crowd = self.crowd(requester, 50, WISHES, seed=seed)
        for _ in range(10):
            await self.sleep(rng.uniform(0.1, 2.0))
            victim = rng.choice(pair)
            victim.kill()
            await self.sleep(rng.uniform(0.0, 0.6))
            victim.start()
            crowd.check()
        await crowd.finish()
        await self.everything_is_back()
        ledger = requester.ledger
        print(f"10 kills, {ledger.served} requests served, longest wait {max(ledger.waits):.1f} s")
        await self.until(
            "both launchers are registered, one after the other for the provider",
            self.both_there,
        )

    async def both_there(self) -> bool:
        owners = await self.sight.owners()
        return len(await self.sight.components("launcher")) == 2 and owners == {"rack": 2}
