"""Launchers that are killed or stopped in the middle of launches, and what their successors do."""

from __future__ import annotations

from collections import Counter

from tests.functional.cloud.scene import CloudScene, label, provider
from tests.nodescan.contract import asynchronous

COUNT = 100

#: Seconds an orderly stop may take.
SOON = 2.0


class Killed(CloudScene):
    @asynchronous
    async def test_amid_a_hundred_launches(self) -> None:
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

    @asynchronous
    async def test_again_and_again(self) -> None:
        """Killed at any moment, five times, it makes as many servers as nodes are asked for."""
        cloud = self.cloud("sky", boot_delay=0.5, api_delay=0.1)
        launcher = self.cloud_launcher(self.config(provider("sky", label("small")), timeout=1))
        requester = await self.requester()
        requests = await self.ask_many(requester, 40, "small")
        for count in (1, 8, 16, 24, 32):
            await self.until("more servers", lambda count=count: len(cloud.made) >= count)
            launcher.kill()
            launcher.start()
        held = await self.accept_all(requester, requests, "small")
        self.assertEqual(await self.disagreements(), [])
        await requester.give_back(held)
        await self.until_settled()
        self.assertEqual(cloud.servers, {})
        self.assert_nothing_unforeseen()
        self.assert_made_once("sky", 40)


class Stopped(CloudScene):
    @asynchronous
    async def test_amid_launches(self) -> None:
        """SIGTERM ends it soon; its nodes stay as they are, and the successor goes on with them."""
        cloud = self.cloud("sky", boot_delay=2.0, api_delay=0.2)
        launcher = self.cloud_launcher(self.config(provider("sky", label("small")), timeout=10))
        requester = await self.requester()
        requests = await self.ask_many(requester, 50, "small")
        await self.until("some of the servers", lambda: len(cloud.made) >= 20)
        ended = await launcher.stop()
        print(f"ended after {ended.seconds:.2f} s, with {len(cloud.made)} servers made")
        self.assertEqual(ended.status, 0)
        self.assertLess(ended.seconds, SOON)
        nodes = await self.sight.nodes()
        self.assertEqual([node.id for node in nodes if node.contenders], [])
        # What was asked for could be written down.
        written = {node.data["external_id"] for node in nodes} - {None}
        self.assertEqual(written, {made.server_id for made in cloud.made})
        self.assertLessEqual({node.data["state"] for node in nodes}, {"init", "building", "ready"})
        launcher.start()
        held = await self.accept_all(requester, requests, "small")
        self.assertIn("going on with node", launcher.log)
        await requester.give_back(held)
        await self.until_settled()
        self.assert_nothing_unforeseen()
        self.assert_made_once("sky", 50)

    @asynchronous
    async def test_while_the_cloud_hangs(self) -> None:
        """An answer on its way is waited for a few seconds; its server is found all the same."""
        cloud = self.cloud("sky", boot_delay=0.5)
        launcher = self.cloud_launcher(self.config(provider("sky", label("small")), timeout=20))
        requester = await self.requester()
        await requester.give_back(await requester.obtain("small"))
        await self.until_settled()
        cloud.lose_answers("POST", "servers")
        requests = await self.ask_many(requester, 5, "small")
        await self.until("the servers", lambda: len(cloud.made) == 6)
        ended = await launcher.stop()
        print(f"ended after {ended.seconds:.2f} s")
        self.assertEqual(ended.status, 0)
        self.assertLess(ended.seconds, 5.0 + SOON)
        cloud.heal()
        launcher.start()
        held = await self.accept_all(requester, requests, "small")
        await requester.give_back(held)
        await self.until_settled()
        self.assert_nothing_unforeseen()
        self.assert_made_once("sky", 6)


class Restarted(CloudScene):
    @asynchronous
    async def test_with_everything_at_hand(self) -> None:
        """What is ready, promised, in use, returned meanwhile, building or waited for settles."""
        cloud = self.cloud("sky", boot_delay=0.2)
        self.cloud("sea", boot_delay=0.2)
        sky = provider("sky", label("small"), pool={"max_servers": 6})
        sea = provider("sea", label("large", "large"))
        launcher = self.cloud_launcher(self.config(sky, sea, min_ready={"large": 1}))
        requester = await self.requester()
        await self.until_settled(large=1)
        lost = await self.requester(session_timeout=2.0)
        first = await self.ask_many(requester, 2, "small")
        promised, abandoned = await self.ask_many(requester, 2, "small")
        used, returned = await self.accept_all(requester, first, "small")
        await requester.use([used, returned])
        body = await requester.answer(promised)
        await lost.use(await lost.accept(abandoned, ["small"]))
        cloud.behave(boot_delay=3.0)
        building, withdrawn = [await requester.ask("small") for _ in range(2)]
        await self.until("all servers", lambda: len(cloud.made) == 6)
        waiting = await requester.ask("small")
        await self.sleep(0.3)
        self.assertEqual((await launcher.stop()).status, 0)
        states = Counter(node.data["state"] for node in await self.sight.nodes())
        self.assertEqual(states, {"ready": 2, "in-use": 3, "building": 2})
        await requester.give_back([returned])
        await requester.withdraw(withdrawn)
        await lost.client.close()
        launcher.start()
        for request in (waiting, building):
            await requester.give_back(await requester.accept(request, ["small"]))
        self.assertEqual((await requester.request(promised)), body)
        await requester.give_back(await requester.accept(promised, ["small"]))
        await requester.give_back([used])
        # Whether the one that nobody wants served who waited: that depends on who was first.
        spare = len(cloud.made) - 6
        self.assertIn(spare, (0, 1))
        await self.until_settled(large=1, **({"small": 1} if spare else {}))
        self.assert_nothing_unforeseen()
        self.assert_made_once("sky", 6 + spare)
        self.assert_made_once("sea", 1)
