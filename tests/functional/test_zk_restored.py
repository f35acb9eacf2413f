"""An ensemble that has lost its memory."""

from __future__ import annotations

import shutil

from twisted.internet import reactor
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from nodepool_tx.txzookeeper.client import ZookeeperClient
from nodepool_tx.txzookeeper.interface import SessionState
from nodepool_tx.txzookeeper.link import Pauses
from tests.contract.zookeeper import asynchronous, reached
from tests.servers.zookeeper import ZookeeperServer, shared_authority


class RestoredTests(TestCase):
    """A server of its own, which the test may wipe."""

    timeout = 120

    def setUp(self) -> None:
        self.server = ZookeeperServer(shared_authority())
        self.addCleanup(self.server.stop)
        self.server.start()
        self.server.wait_ready()

    async def restart(self) -> None:
        self.server.start()
        await deferToThread(self.server.wait_ready)

    @asynchronous
    async def test_wiped(self) -> None:
        """A client that has seen more than the servers know gets a new session."""
        client = ZookeeperClient(
            reactor, self.server.address, session_timeout=1.5, pauses=Pauses(0.05, 0.1)
        )
        self.addCleanup(client.close)
        await client.connect()
        for number in range(20):
            await client.create(f"/{number}")
        states: list[SessionState] = []
        client.observe(states.append)
        self.server.kill()
        shutil.rmtree(self.server.directory / "data" / "version-2")
        back = reached(client, SessionState.CONNECTED)
        await self.restart()
        await back
        self.assertEqual(states[-2:], [SessionState.EXPIRED, SessionState.CONNECTED])
        self.assertEqual(await client.get_children("/"), ["zookeeper"])
        await client.create("/new", b"1")

    @asynchronous
    async def test_restarted(self) -> None:
        """A server that comes back with its data takes the session up again."""
        client = ZookeeperClient(
            reactor, self.server.address, session_timeout=30, pauses=Pauses(0.05, 0.1)
        )
        self.addCleanup(client.close)
        await client.connect()
        await client.create("/e", b"1", ephemeral=True)
        states: list[SessionState] = []
        client.observe(states.append)
        self.server.kill()
        back = reached(client, SessionState.CONNECTED)
        await self.restart()
        await back
        self.assertEqual(states, [SessionState.SUSPENDED, SessionState.CONNECTED])
        self.assertEqual((await client.exists("/e")).ephemeralOwner, client.session_id)
