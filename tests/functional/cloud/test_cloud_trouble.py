"""Clouds that hang, refuse, forget who we are, or have no room: the rest goes on."""

from __future__ import annotations

import time

from twisted.internet.defer import Deferred, gatherResults

from nodepool_tx.providers.fake.troubles import Trouble, broken
from tests.functional.cloud.scene import CloudScene, label, provider
from tests.functional.launcher.process import LauncherProcess
from tests.functional.launcher.requesters import Requester
from tests.nodescan.contract import asynchronous


class Troubled(CloudScene):
    async def _prepare(self) -> None:
        await super()._prepare()
        self.sky, self.sea = self.cloud("sky"), self.cloud("sea")
        self.daemon: LauncherProcess = self.cloud_launcher(
            self.config(
                provider("sky", label("sky"), launch_retries=2),
                provider("sea", label("sea")),
            )
        )
        self.asker: Requester = await self.requester()
        # From here on both are logged in.
        jobs = [Deferred.fromCoroutine(self.asker.job(name)) for name in ("sky", "sea")]
        await gatherResults(jobs)
        await self.until_settled()

    async def sea_is_served(self, jobs: int = 2) -> None:
        """Nobody who wants the other cloud notices."""
        began = time.monotonic()
        for _ in range(jobs):
            await self.asker.job("sea")
        spent = time.monotonic() - began
        print(f"the other cloud served {jobs} jobs in {spent:.1f} s")
        self.assertLess(spent, jobs * 4.0)

    async def all_is_well(self, sky: int) -> None:
        """Nothing is left, and so many servers were made in the cloud that had trouble."""
        await self.until_settled()
        self.assertEqual((self.sky.servers, self.sea.servers), ({}, {}))
        self.assertEqual(len(self.sky.made), sky)
        self.assert_nothing_unforeseen()

    @asynchronous
    async def test_it_hangs(self) -> None:
        """While no call is answered, others are served; then all goes on by itself."""
        requests = await self.ask_many(self.asker, 5, "sky")
        await self.until("all servers", lambda: len(self.sky.made) == 6)
        self.sky.hang()
        requests += await self.ask_many(self.asker, 5, "sky")
        await self.sea_is_served()
        self.assertEqual(len(self.sky.made), 6)
        self.sky.heal()
        held = await self.accept_all(self.asker, requests, "sky")
        await self.asker.give_back(held)
        await self.all_is_well(sky=11)

    @asynchronous
    async def test_it_is_overloaded(self) -> None:
        """It is left in peace as long as it says, which costs nobody an attempt."""
        self.sky.cloud.overload(3.0)
        requests = await self.ask_many(self.asker, 10, "sky")
        await self.sea_is_served()
        held = await self.accept_all(self.asker, requests, "sky")
        await self.asker.give_back(held)
        self.assertIn("provider sky is left in peace for", self.daemon.log)
        self.assertNotIn("launch attempt", self.daemon.log)
        await self.all_is_well(sky=11)

    @asynchronous
    async def test_it_forgets_tokens(self) -> None:
        """New ones are fetched, once for all, and no launch fails."""
        requests = await self.ask_many(self.asker, 10, "sky")
        await self.until("some servers", lambda: len(self.sky.made) >= 6)
        before = self.sky.tokens_given
        self.sky.expire_tokens()
        held = await self.accept_all(self.asker, requests, "sky")
        self.assertEqual(self.sky.tokens_given - before, 1)
        self.sky.expire_tokens()
        await self.asker.give_back(held)
        self.assertNotIn("launch attempt", self.daemon.log)
        await self.all_is_well(sky=11)

    @asynchronous
    async def test_it_refuses_for_want_of_quota(self) -> None:
        """What does not fit waits for room, and is not an attempt that failed."""
        self.sky.behave(max_instances=3)
        requests = await self.ask_many(self.asker, 5, "sky")
        await self.sea_is_served(1)
        for request in requests:
            await self.asker.give_back(await self.asker.accept(request, ["sky"]))
        self.assertNotIn("launch attempt", self.daemon.log)
        self.assertLessEqual(self.sky.most, 3)
        await self.all_is_well(sky=6)

    @asynchronous
    async def test_its_answers_are_lost(self) -> None:
        """Servers that were made, though nobody said so, are found or removed."""
        self.sky.troubles.order("compute", "POST", "servers", Trouble(None, True), times=3)
        self.sky.troubles.order("compute", "POST", "servers", Trouble(broken(), True), times=2)
        requests = await self.ask_many(self.asker, 8, "sky")
        held = await self.accept_all(self.asker, requests, "sky")
        await self.until("servers and records agree", self.agreed)
        await self.asker.give_back(held)
        self.assertIn("launch attempt 1", self.daemon.log)
        await self.all_is_well(sky=len(self.sky.made))

    async def agreed(self) -> bool:
        return not await self.disagreements()

    @asynchronous
    async def test_servers_fail(self) -> None:
        """When nothing boots in a cloud its label is left alone after a while, visibly."""
        self.sky.behave(boot_failure_rate=1.0)
        requests = await self.ask_many(self.asker, 3, "sky")
        for request in requests:
            body = await self.asker.answer(request)
            self.assertEqual((body["state"], body["nodes"]), ("failed", []))
            await self.asker.withdraw(request)
        await self.until_logged(self.daemon, "sky.* is left alone for")
        await self.sea_is_served(1)
        await self.until_settled()
        self.assertEqual(self.sky.servers, {})
        self.sky.behave(boot_failure_rate=0.0)
        self.assert_nothing_unforeseen()
