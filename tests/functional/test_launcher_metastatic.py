"""Real launchers that divide up the nodes of clouds which each of them simulates."""

from __future__ import annotations

from typing import Any

from nodepool_tx.providers.metastatic.backing import table_path
from tests.functional.launcher.process import LauncherProcess
from tests.functional.launcher.scene import Scene


def cloud(name: str) -> dict[str, Any]:
    return {
        "name": name,
        "driver": "fake",
        "rate": 0,
        "cloud-images": [{"name": "debian", "image-name": "Fake Precise"}],
        "simulation": {"boot-delay": 0.3},
        "pools": [
            {
                "name": "main",
                "labels": [{"name": "large", "cloud-image": "debian", "min-ram": 8192}],
            }
        ],
    }


def shared(grace: int) -> dict[str, Any]:
    label = {
        "name": "small",
        "backing-label": "large",
        "max-parallel-jobs": 4,
        "grace-time": grace,
    }
    return {
        "name": "shared",
        "driver": "metastatic",
        "pools": [{"name": "main", "labels": [label]}],
    }


class MetastaticTests(Scene):
    def config(self, number: int, *more: dict[str, Any]) -> dict[str, Any]:
        # Nodes whose requests were withdrawn are in stock, and leave soon.
        labels = [{"name": name, "max-ready-age": 2} for name in ("small", "large")]
        providers = [cloud(f"trial-{number}"), *more]
        return self.at_server({"labels": labels, "providers": providers})

    def start(self, number: int, grace: int) -> LauncherProcess:
        config = self.config(number, shared(grace))
        launcher = self.launcher(config, options=["--cleanup-interval", "1"])
        launcher.start()
        return launcher

    async def records(self) -> list[str]:
        return await self.sight.children(table_path("shared"))

    async def until_nothing_is_left(self) -> None:
        async def look() -> bool:
            return not (await self.records() or await self.sight.nodes())

        await self.until("no record and no node", look, 60.0)

    async def test_life(self) -> None:
        """Two give out slots of the same nodes, and release those when nobody uses them."""
        launchers = [self.start(number, grace=1) for number in (1, 2)]
        for launcher in launchers:
            await self.until_logged(launcher, "up to date with ZooKeeper")
        crowd = self.crowd(await self.requester(), 4, [["small"], ["small", "small"]])
        await self.until_served(crowd, 60)
        self.assertLessEqual(len(await self.records()), 4)
        await crowd.finish()
        await self.until_nothing_is_left()
        self.assertEqual(await self.sight.requests(), {})
        self.assert_nothing_unforeseen()

    async def test_killed(self) -> None:
        """Whoever is left goes on, and nothing is forgotten."""
        first, second = (self.start(number, grace=1) for number in (1, 2))
        await self.until_logged(second, "up to date with ZooKeeper")
        crowd = self.crowd(await self.requester(), 4, [["small"], ["small", "small"]])
        await self.until_served(crowd, 10)
        first.kill()
        await self.until_served(crowd, 20)
        first.start()
        await self.until_served(crowd, 10)
        await crowd.finish()
        await self.until_nothing_is_left()
        self.assert_nothing_unforeseen()

    async def test_taken_out(self) -> None:
        """A provider that is taken out of the file leaves no backing node."""
        launcher = self.start(1, grace=3600)
        await self.until_logged(launcher, "up to date with ZooKeeper")
        requester = await self.requester()
        await requester.job("small", "small")
        self.assertEqual(len(await self.records()), 1)
        launcher.write(self.config(1))
        await self.until_nothing_is_left()
        self.assert_nothing_unforeseen()
