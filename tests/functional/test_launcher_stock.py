"""Stock that several launchers keep together, in clouds that each of them simulates."""

from __future__ import annotations

from typing import Any

from tests.functional.launcher.process import LauncherProcess
from tests.functional.launcher.scene import Scene
from tests.functional.launcher.sight import SeenNode


def cloud(name: str, boot_delay: float = 0.3) -> dict[str, Any]:
    """A provider of two labels."""
    return {
        "name": name,
        "driver": "fake",
        "rate": 0,
        "cloud-images": [{"name": "debian", "image-name": "Fake Precise"}],
        "simulation": {"boot-delay": boot_delay},
        "pools": [
            {
                "name": "main",
                "labels": [
                    {"name": label, "cloud-image": "debian", "min-ram": 8192}
                    for label in ("small", "large")
                ],
            }
        ],
    }


class StockTests(Scene):
    def config(self, provider: str, boot_delay: float = 0.3, **wanted: int) -> dict[str, Any]:
        labels = [{"name": name, "min-ready": wanted.get(name, 0)} for name in ("small", "large")]
        config = {"labels": labels, "providers": [cloud(provider, boot_delay)]}
        return self.at_server(config)

    def start(self, provider: str, **wanted: Any) -> LauncherProcess:
        launcher = self.launcher(self.config(provider, **wanted))
        launcher.start()
        return launcher

    async def until_stocked(self, **wanted: int) -> list[SeenNode]:
        """Exactly so many nodes of each label, all free, and no request left."""

        async def look() -> list[SeenNode] | None:
            nodes = await self.sight.nodes()
            counts = {
                name: sum(node.free and node.data["type"] == [name] for node in nodes)
                for name in wanted
            }
            if counts != wanted or len(nodes) != sum(wanted.values()):
                return None
            return nodes if not await self.sight.requests() else None

        found: list[SeenNode] = await self.until(f"a stock of {wanted}", look)
        return found

    async def test_life(self) -> None:
        """Filled, refilled, enlarged at once, and given up without taking anything away."""
        first = self.start("trial-1", small=2)
        second = self.start("trial-2", small=2)
        nodes = await self.until_stocked(small=2)
        requester = await self.requester()
        crowd = self.crowd(requester, 2, [["small"]])
        await self.until_served(crowd, 6)
        await crowd.finish()
        await self.until_stocked(small=2)
        for number, launcher in enumerate((first, second), 1):
            launcher.write(self.config(f"trial-{number}", small=2, large=1))
        await self.until_stocked(small=2, large=1)
        for number, launcher in enumerate((first, second), 1):
            launcher.write(self.config(f"trial-{number}", small=-1, large=0))
        for launcher in (first, second):
            await self.until_logged(launcher, "configuration applied in full", 3)
        await self.sleep(1.0)
        stock = await self.until_stocked(small=2, large=1)
        kept = {node.id for node in nodes} & {node.id for node in stock}
        self.assertLess(len(kept), 2, "clients were given other nodes")
        self.assert_nothing_unforeseen()

    async def test_the_leader_is_killed(self) -> None:
        """While its nodes are made: the other takes over, and there is what is wanted."""
        first = self.start("trial-1", small=2, boot_delay=5.0)
        await self.until_logged(first, "asking for 2 small")
        second = self.start("trial-2", small=2)
        await self.until_logged(second, "up to date with ZooKeeper")
        first.kill()

        async def stocked() -> bool:
            nodes = await self.sight.nodes()
            ready = [node for node in nodes if node.free]
            return len(ready) == 2 and {n.data["provider"] for n in ready} <= {"trial-1", "trial-2"}

        await self.until_logged(second, "elected for .*min-ready-small")
        first.start()
        await self.until("two nodes in stock", stocked, 60.0)
        self.assert_nothing_unforeseen()
