"""A configuration that changes in the middle of launches."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tests.functional.cloud.scene import CloudScene, label, provider
from tests.functional.launcher.process import LauncherProcess
from tests.nodescan.contract import asynchronous

COUNT = 50


class Reloaded(CloudScene):
    async def reload(self, launcher: LauncherProcess, config: Mapping[str, Any]) -> None:
        """Change the file, and wait until it is in force."""
        before = launcher.log.count("configuration applied in full")
        launcher.write(config)
        await self.until_logged(launcher, "configuration applied in full", before + 1)

    async def begun(
        self, first: Mapping[str, Any], count: int = COUNT, enough: int = COUNT // 3, **cloud: Any
    ) -> None:
        """A launcher with so many requests for small ones, of which some are being made."""
        self.sky = self.cloud("sky", **{"boot_delay": 2.0, "api_delay": 0.1, **cloud})
        self.sea = self.cloud("sea")
        self.daemon = self.cloud_launcher(first)
        self.asker = await self.requester()
        self.asked = await self.ask_many(self.asker, count, "small")
        await self.until("some of the servers", lambda: len(self.sky.made) >= enough)

    @asynchronous
    async def test_changed_provider(self) -> None:
        """Launches go on, a new label can be had at once, and nothing is made twice."""
        await self.begun(self.config(provider("sky", label("small"))))
        both = [label("small"), label("large", "large")]
        await self.reload(self.daemon, self.config(provider("sky", *both, launch_retries=5)))
        made = len(self.sky.made)
        self.sky.behave(boot_delay=0.2)
        large = await self.asker.obtain("large")
        print(f"{made} servers at the reload, {len(self.sky.made)} when the new label was served")
        held = await self.accept_all(self.asker, self.asked, "small")
        await self.asker.give_back([*held, *large])
        await self.until_settled()
        self.assert_nothing_unforeseen()
        self.assert_made_once("sky", COUNT + 1)

    @asynchronous
    async def test_label_removed(self) -> None:
        """Who was promised nodes of it gets them; who comes later does not, and stock goes."""
        before = self.config(provider("sky", label("small"), label("large", "large")))
        await self.begun(before)
        await self.until("all taken", self.all_pending)
        await self.reload(self.daemon, self.config(provider("sky", label("large", "large"))))
        late = await self.asker.ask("small")
        await self.asker.give_back(await self.asker.obtain("large"))
        held = await self.accept_all(self.asker, self.asked, "small")
        body = await self.asker.request(late)
        assert body is not None
        self.assertEqual(body["nodes"], [])
        await self.asker.withdraw(late)
        await self.asker.give_back(held[1:], used=False)
        await self.asker.give_back(held[:1])
        await self.until_settled()
        self.assert_nothing_unforeseen()
        self.assert_made_once("sky", COUNT + 1)

    async def all_pending(self) -> bool:
        return {body["state"] for body in (await self.sight.requests()).values()} <= {
            "pending",
            "fulfilled",
        }

    @asynchronous
    async def test_fewer_servers_allowed(self) -> None:
        """What is being made is made; nothing more until there are fewer than are allowed."""
        before = self.config(provider("sky", label("small"), pool={"max_servers": 7}))
        await self.begun(before, count=9, enough=7, boot_delay=1.0)
        after = self.config(provider("sky", label("small"), pool={"max_servers": 3}))
        await self.reload(self.daemon, after)
        first = await self.answered(7)
        held = await self.accept_all(self.asker, first, "small")
        await self.asker.give_back(held[:4])
        await self.until("three are left", lambda: self.there_are(3))
        await self.sleep(0.5)
        self.assertEqual(len(self.sky.made), 7)
        self.sky.most = 0
        await self.asker.give_back(held[4:])
        rest = [request for request in self.asked if request not in first]
        for request in rest:
            await self.asker.give_back(await self.asker.accept(request, ["small"]))
        self.assertLessEqual(self.sky.most, 3)
        await self.until_settled()
        self.assert_nothing_unforeseen()
        self.assert_made_once("sky", 9)

    async def there_are(self, count: int) -> bool:
        return len(await self.sight.nodes()) == count

    async def answered(self, count: int) -> list[str]:
        """Wait until so many requests are fulfilled; those."""

        async def look() -> list[str] | None:
            requests = await self.sight.requests()
            found = [name for name, body in requests.items() if body["state"] == "fulfilled"]
            return found if len(found) >= count else None

        found: list[str] = await self.until(f"{count} requests are fulfilled", look)
        return found

    @asynchronous
    async def test_provider_removed(self) -> None:
        """Its launches end, its servers go, and another provider serves the requests."""
        await self.begun(self.config(provider("sky", label("small"))))
        await self.reload(self.daemon, self.config(provider("sea", label("small"))))
        held = await self.accept_all(self.asker, self.asked, "small")
        await self.asker.give_back(held)
        await self.until_settled()
        self.assertEqual((self.sky.servers, self.sea.servers), ({}, {}))
        self.assertEqual(len(held), COUNT)
        # Its last node is gone before it is itself.
        await self.until_logged(self.daemon, "provider sky is gone", 1)
        self.assertEqual(await self.sight.children("/nodepool/draining"), [])
        pools = [pool["provider_name"] for pool in await self.sight.components("pool")]
        self.assertEqual(pools, ["sea"])
        self.assert_nothing_unforeseen()

    @asynchronous
    async def test_pool_renamed(self) -> None:
        """Requests of the old pool end there, and it is not registered any more."""
        sky = provider("sky", label("small"))
        sky["launch-retries"] = 1
        await self.begun(self.config(sky), count=10, enough=10)
        await self.until("all taken", self.all_pending)
        self.sky.behave(boot_failure_rate=1.0)
        sky["pools"][0]["name"] = "other"
        await self.reload(self.daemon, self.config(sky))
        late = await self.asker.ask("small")
        for request in (*self.asked, late):
            body = await self.asker.answer(request)
            await self.asker.withdraw(request)
            self.assertIn(body["state"], ("failed", "fulfilled"))
        pools = [pool["name"] for pool in await self.sight.components("pool")]
        self.assertEqual(pools, ["other"])
        self.assert_nothing_unforeseen()
