"""Launchers that lose ZooKeeper in the middle of launches."""

from __future__ import annotations

import signal

from twisted.internet import reactor

from tests.functional.cloud.scene import CloudScene, label, provider
from tests.functional.launcher.settings import at_zookeeper
from tests.nodescan.contract import asynchronous
from tests.servers.proxy import Proxy

COUNT = 30


class CutOff(CloudScene):
    async def begun(self, session: float, *, beside: bool = False) -> list[str]:
        """Requests, of whose servers some are being made by a launcher behind a proxy.

        :param beside: another launcher, with a connection of its own, is there.
        """
        self.sky = self.cloud("sky", boot_delay=1.0, api_delay=0.1)
        self.proxy = Proxy(reactor, self.server.port)
        self.addCleanup(self.proxy.stop)
        config = self.config(provider("sky", label("small")), timeout=10)
        self.daemon = self.cloud_launcher(
            at_zookeeper(config, self.proxy.port, chroot=self.root, timeout=session)
        )
        await self.until_logged(self.daemon, "looks after provider sky")
        self.asker = await self.requester()
        if beside:
            self.other = self.cloud_launcher(config)
            await self.until_logged(self.other, "up to date with ZooKeeper")
            # Else it might be quicker, and take every request before the first one does.
            self.other.send(signal.SIGSTOP)
        asked = await self.ask_many(self.asker, COUNT, "small")
        await self.until("some of the servers", lambda: len(self.sky.made) >= 5)
        if beside:
            self.other.send(signal.SIGCONT)
        return asked

    async def all_is_well(self, asked: list[str]) -> None:
        """All are served, each by a server that was made for it alone."""
        held = await self.accept_all(self.asker, asked, "small")
        self.assertEqual(await self.disagreements(), [])
        await self.asker.give_back(held)
        await self.until_settled()
        self.assert_nothing_unforeseen()
        self.assert_made_once("sky", COUNT)

    @asynchronous
    async def test_cut_again_and_again(self) -> None:
        """Launches go on over connections that do not last."""
        asked = await self.begun(session=10)
        for _ in range(6):
            self.proxy.cut()
            await self.sleep(0.3)
        await self.all_is_well(asked)
        self.assertNotIn("ZooKeeper: expired", self.daemon.log)

    @asynchronous
    async def test_answers_swallowed(self) -> None:
        """What was written without an answer is looked up, and not done again."""
        asked = await self.begun(session=10)
        self.proxy.blackhole(answers_only=True)
        await self.sleep(1.0)
        self.proxy.heal()
        await self.all_is_well(asked)

    @asynchronous
    async def test_session_lost(self) -> None:
        """What was begun in the session before is gone on with in the next one."""
        asked = await self.begun(session=2)
        self.proxy.blackhole()
        await self.until("the session has expired", self.nobody_is_registered)
        self.proxy.heal()
        await self.all_is_well(asked)
        self.assertIn("ZooKeeper: expired", self.daemon.log)

    async def nobody_is_registered(self) -> bool:
        return not await self.sight.components("pool")

    @asynchronous
    async def test_session_lost_beside_another(self) -> None:
        """Another launcher goes on with the nodes; the first one does not spoil that."""
        asked = await self.begun(session=2, beside=True)
        self.proxy.blackhole()
        await self.until_logged(self.other, "looks after provider sky")
        await self.sleep(0.5)
        self.proxy.heal()
        await self.all_is_well(asked)
        self.assertIn("going on with node", self.other.log)
