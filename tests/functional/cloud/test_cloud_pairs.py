"""Two launchers with the same clouds."""

from __future__ import annotations

import time
from typing import Any

from twisted.internet.defer import CancelledError, Deferred

from nodepool_tx.store import paths
from tests.functional.cloud.scene import CloudScene, label, provider
from tests.nodescan.contract import asynchronous

TENANT = "acme"
LIMIT = 6


class Together(CloudScene):
    def census(self) -> list[int]:
        """How many nodes the tenant has, noted at each change of the nodes there are."""
        counts: list[int] = []
        taking = Deferred.fromCoroutine(self._take_census(counts))
        taking.addErrback(lambda failure: failure.trap(CancelledError))
        self.addCleanup(taking.cancel)
        return counts

    async def _take_census(self, counts: list[int]) -> None:
        client = self.sight.client
        while True:
            reading, changed = client.get_children_and_watch(paths.NODES)
            ids = await reading
            records = [await self.sight.node(node_id) for node_id in ids]
            # Each of these was there when the names were read.
            counts.append(sum(1 for each in records if each and each["tenant_name"] == TENANT))
            await changed

    @asynchronous
    async def test_one_tenant_limit(self) -> None:
        """Both launchers together never give a tenant more than it may have; all are served."""
        self.cloud("sky", boot_delay=0.3)
        limits = [{"tenant-name": TENANT, "max-servers": LIMIT}]
        config = self.config(provider("sky", label("small")), tenant_resource_limits=limits)
        first, second = self.cloud_launcher(config), self.cloud_launcher(config)
        await self.until("both are there", self.two_pools)
        acme = await self.requester(tenant=TENANT)
        other = await self.requester(tenant="other")
        await (await self.client()).ensure_path(paths.NODES)
        counts = self.census()
        crowd = self.crowd(acme, 8, [["small"], ["small", "small"]], longest=0.2)
        await other.job("small")
        await self.until_served(crowd, 5)
        await crowd.finish()
        await self.until_settled()
        print(f"of {LIMIT} nodes at the most, {max(counts)} were there; {len(counts)} looks")
        self.assertGreaterEqual(max(counts), LIMIT - 1)
        self.assertLessEqual(max(counts), LIMIT)
        self.assertTrue(all(launcher.running for launcher in (first, second)))
        self.assert_nothing_unforeseen()

    async def two_pools(self) -> bool:
        return len(await self.sight.components("pool")) == 2

    @asynchronous
    async def test_stock_over_a_kill_of_its_keeper(self) -> None:
        """The stock is kept once, also when the launcher that keeps it is killed amid that."""
        cloud = self.cloud("sky", boot_delay=1.0)
        config = self.config(provider("sky", label("small")), min_ready={"small": 4}, timeout=1)
        first = self.cloud_launcher(config)
        await self.until("the stock is being made", lambda: len(cloud.made) >= 2)
        second = self.cloud_launcher(config)
        await self.until("both are there", self.two_pools)
        first.kill()
        await self.until_settled(small=4)
        self.assert_made_once("sky", 4)
        first.start()
        await self.until("both are there", self.two_pools)
        requester = await self.requester()
        for _ in range(3):
            await requester.job("small")
        await self.until_settled(small=4)
        self.assertTrue(second.running)
        self.assert_nothing_unforeseen()
        self.assert_made_once("sky", 7)

    @asynchronous
    async def test_stock_that_grows_old(self) -> None:
        """Ready nodes are replaced once each time they are too old, and one in use is not."""
        cloud = self.cloud("sky")
        config: dict[str, Any] = self.config(provider("sky", label("small")))
        config["labels"] = [{"name": "small", "min-ready": 2, "max-ready-age": 3}]
        for _ in range(2):
            self.cloud_launcher(config)
        nodes = await self.until_settled(small=2)
        began = time.monotonic()
        requester = await self.requester()
        held = await requester.obtain("small")
        await requester.use(held)
        await self.sleep(3.5)
        old = {node.id for node in nodes}
        renewed = await self.until("all are new", lambda: self.renewed(old - {held[0].id}))
        self.assertIsNotNone(await self.sight.node(held[0].id))
        await requester.give_back(held)
        spent = time.monotonic() - began
        print(f"{len(cloud.made)} servers in {spent:.1f} s, {renewed}")
        # Two at a time, each for three seconds at least, and the one that was used.
        self.assertLessEqual(len(cloud.made), 3 + 2 * (spent // 3 + 1))
        await self.until("servers and records agree", self.agreed)
        self.assert_nothing_unforeseen()

    async def agreed(self) -> bool:
        return not await self.disagreements()

    async def renewed(self, old: set[str]) -> set[str] | None:
        """Two others are ready, and these are gone."""
        nodes = await self.sight.nodes()
        free = {node.id for node in nodes if node.free}
        return free if len(free) == 2 and not old & {node.id for node in nodes} else None
