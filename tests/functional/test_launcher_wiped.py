"""ZooKeeper without memory: what somebody removes, or a server has lost, is made again."""

from __future__ import annotations

import shutil

from twisted.internet.threads import deferToThread

from tests.functional.launcher.requesters import Ledger, Requester
from tests.functional.launcher.scene import Scene
from tests.functional.launcher.settings import configuration, host, provider, slots
from tests.nodescan.contract import asynchronous
from tests.servers.zookeeper import ZookeeperServer, shared_authority

FARM = configuration(provider("rack", host("fake-1", "small", jobs=2), host("fake-2", "large")))
WISHES = [["small"], ["large"]]


class WipedScene(Scene):
    async def all_is_there(self) -> bool:
        return (
            len(await self.sight.components("launcher")) == 1
            and len(await self.sight.components("pool")) == 1
            and await self.sight.owners() == {"rack": 1}
        )


class Wiped(WipedScene):
    @asynchronous
    async def test_somebody_removes_everything(self) -> None:
        """Nodes, registrations and ownership are back at once, and requests are served."""
        await self.serving(self.at_server(FARM))
        requester = await self.requester()
        await requester.use(await requester.obtain("large"))
        waiting = await requester.ask("large")
        for _ in range(3):
            await self.sight.client.delete_tree("/nodepool")
            await self.until_all_free(slots(FARM), patience=5)
            await self.until("all is registered", self.all_is_there, patience=5)
        self.assertIsNone(await requester.request(waiting))
        crowd = self.crowd(Requester(requester.client, Ledger()), 10, WISHES)
        await self.until_served(crowd, 30)
        await crowd.finish()
        await self.until_all_free(slots(FARM))
        self.assert_nothing_unforeseen()

    @asynchronous
    async def test_somebody_removes_registrations_and_ownership(self) -> None:
        """One by one they are made again, while requests are served."""
        await self.serving(self.at_server(FARM))
        crowd = self.crowd(await self.requester(), 10, WISHES)
        for path in ("components/pool", "components/launcher", "owners", "owners/rack"):
            await self.sight.client.delete_tree(f"/nodepool/{path}")
            await self.until("all is registered", self.all_is_there, patience=5)
            await self.until_served(crowd, 20)
        await crowd.finish()
        await self.until_all_free(slots(FARM))
        self.assert_nothing_unforeseen()


class Forgetful(WipedScene):
    """A server of the test's own, which may lose its data."""

    #: So long it takes to believe that it has.
    patience = 3.0

    def get_server(self) -> ZookeeperServer:
        server = ZookeeperServer(shared_authority())
        self.addCleanup(server.stop)
        server.start()
        server.wait_ready()
        return server

    @asynchronous
    async def test_server_has_lost_its_data(self) -> None:
        """A new session on an empty server gets all it needs, and all nodes."""
        launcher = await self.serving(self.at_server(FARM))
        self.server.kill()
        shutil.rmtree(self.server.directory / "data" / "version-2")
        self.server.start()
        await deferToThread(self.server.wait_ready)
        await self.until_all_free(slots(FARM))
        await self.until("all is registered", self.all_is_there)
        crowd = self.crowd(await self.requester(), 10, WISHES)
        await self.until_served(crowd, 30)
        await crowd.finish()
        await self.until_all_free(slots(FARM))
        self.assertTrue(launcher.running)
        self.assert_nothing_unforeseen()
