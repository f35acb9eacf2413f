"""Launchers that are killed or stopped in the middle of launches, and what their successors do."""

from __future__ import annotations

from tests.functional.cloud.scene import CloudScene, label, provider
from tests.nodescan.contract import asynchronous

COUNT = 100


class KilledInTheMiddle(CloudScene):
    @asynchronous
    async def test_a_hundred_launches(self) -> None:
        """Every request is served, no node is made twice, and nothing is left in the cloud."""
        cloud = self.cloud("sky", boot_delay=1.0, api_delay=0.05)
        config = self.config(provider("sky", label("small")), timeout=1)
        launcher = self.cloud_launcher(config)
        requester = await self.requester()
        requests = await self.ask_many(requester, COUNT, "small")
        await self.until("half of the servers", lambda: len(cloud.made) >= COUNT // 2)
        launcher.kill()
        self.assertLess(len(cloud.made), COUNT)
        launcher.start()
        held = await self.accept_all(requester, requests, "small")
        self.assertEqual(len({mine.id for mine in held}), COUNT)
        self.assertEqual(await self.disagreements(), [])
        await requester.give_back(held)
        await self.until_settled()
        self.assertEqual(cloud.servers, {})
        self.assert_nothing_unforeseen()
        self.assert_made_once("sky", COUNT)
