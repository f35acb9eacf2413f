"""Our launcher and Nodepool 11's with the same provider of the same cloud."""

from __future__ import annotations

import signal
from typing import Any

from benchmarks.daemons import REFERENCE, Launcher
from tests.functional.cloud.scene import CloudScene, label, provider
from tests.functional.launcher.settings import at_zookeeper
from tests.nodescan.contract import asynchronous
from tests.servers.zookeeper import shared_authority


class SharedCloud(CloudScene):
    async def _prepare(self) -> None:
        await super()._prepare()
        self.sky = self.cloud("sky", boot_delay=0.5)

    def settings(self, servers: int) -> dict[str, Any]:
        pool = {"max_servers": servers}
        return self.config(provider("sky", label("small"), rate=0.01, pool=pool))

    def reference(self, config: dict[str, Any]) -> Launcher:
        """Nodepool 11's launcher, started."""
        files = shared_authority().client()
        config = at_zookeeper(config, self.server.tls_port, chroot=self.root, timeout=10)
        config["zookeeper-tls"] = {"cert": files.cert, "key": files.key, "ca": files.ca}
        environ = {"OS_CLIENT_CONFIG_FILE": str(self.directory / "clouds.yaml")}
        launcher = Launcher(REFERENCE, config, self.directory / "reference", environ)
        self.addCleanup(launcher.stop)
        return launcher

    async def pools(self) -> int:
        return len(await self.sight.components("pool"))

    async def until_pools(self, count: int) -> None:
        async def look() -> bool:
            return await self.pools() == count

        await self.until(f"{count} pools are there", look)

    @asynchronous
    async def test_ours_goes_on_after_theirs(self) -> None:
        """What Nodepool 11 was killed over is made by ours: no server twice, none too many."""
        self.sky.behave(boot_delay=8.0)
        theirs = self.reference(self.settings(20))
        requester = await self.requester()
        requests = await self.ask_many(requester, 10, "small")
        await self.until("some of its servers", lambda: len(self.sky.made) >= 4)
        theirs.stop(signal.SIGKILL)
        before = {made.server_id for made in self.sky.made}
        await self.until_pools(0)
        ours = self.cloud_launcher(self.settings(20))
        await self.until("all are made", lambda: len(self.sky.made) >= 10)
        self.sky.behave(boot_delay=0.5)
        held = await self.accept_all(requester, requests, "small")
        self.assertLessEqual(before, {mine.data["external_id"] for mine in held})
        self.assertIn("going on with node", ours.log)
        await requester.give_back(held)
        await self.until_settled()
        self.assert_nothing_unforeseen()
        self.assert_made_once("sky", 10)

    @asynchronous
    async def test_both_at_once(self) -> None:
        """They serve side by side; neither takes the other's nodes for left over."""
        theirs = self.reference(self.settings(6))
        ours = self.cloud_launcher(self.settings(6))
        await self.until_pools(2)
        requester = await self.requester()
        crowd = self.crowd(requester, 8, [["small"], ["small", "small"]], longest=0.3)
        await self.until_served(crowd, 8)
        await crowd.finish()
        await self.until_settled()
        fulfilled = ours.log.count("fulfilled request")
        print(f"ours served {fulfilled} of {requester.ledger.served}, at most {self.sky.most}")
        self.assertIn(" makes nodes for request", ours.log)
        self.assertNotIn("is cut off", ours.log)
        self.assertNotIn("which is left over", ours.log)
        self.assert_nothing_unforeseen()
        log = theirs.log.read_text()
        self.assertIn("Assigning node request", log)
        self.assertNotIn("Traceback", log)
