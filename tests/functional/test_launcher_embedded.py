"""The launcher with its own ZooKeeper, either of them killed."""

from __future__ import annotations

import os
import signal

from tests.functional.launcher.process import LauncherProcess
from tests.functional.launcher.requesters import Requester
from tests.functional.launcher.scene import Scene
from tests.functional.launcher.settings import configuration, host, provider, slots
from tests.functional.launcher.sight import Sight
from tests.nodescan.contract import asynchronous

FARM = configuration(
    provider("rack", host("fake-1", "small", jobs=2), host("fake-2", "small", "large")),
    zookeeper_timeout=2,
)


class Embedded(Scene):
    """Beside the launcher's own ZooKeeper there is none."""

    #: A third of it is what a server that does not answer can cost.
    patience = 6.0

    def get_server(self) -> None:  # type: ignore[override]
        return None

    async def _prepare(self) -> None:
        self.root = ""

    async def up(self) -> tuple[LauncherProcess, str]:
        launcher = self.launcher(FARM)
        launcher.start()
        address = await self.until("ZooKeeper is up", lambda: launcher.zookeeper)
        self.sight = Sight(await self.client(address))
        await self.until_all_free(slots(FARM))
        return launcher, address

    @asynchronous
    async def test_killed_launcher_finds_its_data_again(self) -> None:
        """The next start takes the data over: nodes keep their ids, who waited is served."""
        launcher, address = await self.up()
        before = {node.id for node in await self.sight.nodes()}
        requester = Requester(await self.client(address))
        (held,) = await requester.obtain("large")
        launcher.kill()
        self.assertEqual(len(launcher.zookeeper_pids), 1)
        asked = await requester.ask("small")
        launcher.start()
        (given,) = await requester.accept(asked, ["small"])
        self.assertEqual(launcher.zookeeper, address)
        self.assertLessEqual({held.id, given.id}, before)
        await requester.give_back([held, given])
        await self.until_all_free(slots(FARM))
        ended = await launcher.stop()
        self.assertEqual((ended.status, launcher.zookeeper_pids), (0, []))
        self.assertIsNone(launcher.zookeeper)
        self.assert_nothing_unforeseen()

    @asynchronous
    async def test_killed_zookeeper_is_started_again(self) -> None:
        """The launcher and those who work with it go on where they were."""
        launcher, address = await self.up()
        requester = Requester(await self.client(address))
        crowd = self.crowd(requester, 10, [["small"], ["large"]])
        for _ in range(3):
            await self.until_served(crowd, 20)
            for pid in launcher.zookeeper_pids:
                os.kill(pid, signal.SIGKILL)
        await crowd.finish()
        await self.until_all_free(slots(FARM))
        self.assertEqual((launcher.running, launcher.zookeeper), (True, address))
        self.assertIn("and is started again", launcher.log)
        self.assert_nothing_unforeseen()
