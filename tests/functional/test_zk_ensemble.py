"""Three servers, of which one may die at any moment."""

from __future__ import annotations

from kazoo.exceptions import ConnectionLoss
from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from nodepool_tx.txzookeeper.client import ZookeeperClient
from nodepool_tx.txzookeeper.interface import SessionState
from nodepool_tx.txzookeeper.link import Pauses
from nodepool_tx.txzookeeper.retry import retry_reads, until_connected
from tests.contract.zookeeper import EventLog, asynchronous
from tests.functional.zk_clients import fresh_root
from tests.servers.zookeeper import shared_ensemble


class EnsembleTests(TestCase):
    """Every test ends with all three servers running."""

    timeout = 180

    def setUp(self) -> None:
        self.ensemble = shared_ensemble()
        self.ensemble.wait_ready()

    def make_client(self, address: str) -> ZookeeperClient:
        client = ZookeeperClient(reactor, address, session_timeout=10, pauses=Pauses(0.05, 0.3))
        self.addCleanup(client.close)
        return client

    async def connected(self) -> ZookeeperClient:
        root = fresh_root()
        client = self.make_client(self.ensemble.address + root)
        await client.connect()
        await client.ensure_path("/")
        return client

    def serving(self, client: ZookeeperClient) -> int:
        """The index of the member this client is connected to."""
        addresses = [server.address for server in self.ensemble.servers]
        return addresses.index(client.server)

    async def count(self, client: ZookeeperClient, path: str, until: list[bool]) -> int:
        """Count up in a znode until told to stop, and never wrongly.

        A write with a version whose outcome is unknown is looked up.
        """
        number = version = 0
        while not until:
            try:
                version = (await client.set(path, b"%d" % (number + 1), version)).version
            except ConnectionLoss:
                data, stat = await retry_reads(client, lambda: client.get(path))
                self.assertIn(int(data), (number, number + 1))
                number, version = int(data), stat.version
            else:
                number += 1
        return number

    async def survive(self, client: ZookeeperClient, index: int) -> None:
        """Kill a member while requests run; nothing that was answered is lost."""
        states: list[SessionState] = []
        client.observe(states.append)
        session = client.session_id
        await client.create("/e", ephemeral=True)
        paths = [f"/count-{number}" for number in range(10)]
        await gatherResults([client.create(path, b"0") for path in paths])
        log = EventLog()
        await client.watch("/marker", log)
        until: list[bool] = []
        counting = [Deferred.fromCoroutine(self.count(client, path, until)) for path in paths]
        await client.sync()
        self.ensemble.kill(index)
        try:
            await retry_reads(client, client.sync)
            await until_connected(client)
            await client.create("/marker")
            self.assertEqual((await log.next()).path, "/marker")
            await client.sync()
            until.append(True)
            numbers = await gatherResults(counting)
            for path, number in zip(paths, numbers, strict=True):
                data, stat = await client.get(path)
                self.assertEqual((int(data), stat.version), (number, number))
                self.assertGreater(number, 0)
            self.assertNotIn(SessionState.EXPIRED, states)
            self.assertEqual((client.session_id, client.session_epoch), (session, 1))
            self.assertEqual((await client.exists("/e")).ephemeralOwner, session)
        finally:
            until.append(True)
            self.ensemble.restart(index)
            await deferToThread(self.ensemble.wait_ready)

    @asynchronous
    async def test_leader_killed(self) -> None:
        """The session survives the election that follows the leader's death."""
        client = await self.connected()
        await self.survive(client, self.ensemble.leader())

    @asynchronous
    async def test_own_server_killed(self) -> None:
        """A client whose server dies goes on with another one."""
        client = await self.connected()
        index = self.serving(client)
        await self.survive(client, index)
        self.assertNotEqual(self.serving(client), index)

    @asynchronous
    async def test_one_member_down(self) -> None:
        """Whoever comes while a member is down finds another one."""
        leader = self.ensemble.leader()
        index = (leader + 1) % 3
        self.ensemble.kill(index)
        try:
            for _ in range(5):
                client = await self.connected()
                self.assertNotEqual(self.serving(client), index)
        finally:
            self.ensemble.restart(index)
            await deferToThread(self.ensemble.wait_ready)

    @asynchronous
    async def test_servers_are_shared_out(self) -> None:
        """Clients spread over the members."""
        clients = [self.make_client(self.ensemble.address) for _ in range(24)]
        await gatherResults([client.connect() for client in clients])
        self.assertEqual({self.serving(client) for client in clients}, {0, 1, 2})

    @asynchronous
    async def test_reads_after_sync(self) -> None:
        """``sync`` brings a client on one member up to what another wrote elsewhere."""
        root = fresh_root()
        clients = [self.make_client(server.address + root) for server in self.ensemble.servers]
        await gatherResults([client.connect() for client in clients])
        await clients[0].ensure_path("/")
        await clients[0].create("/a", b"0")
        for number in range(1, 40):
            writer, reader = clients[number % 3], clients[(number + 1) % 3]
            await writer.set("/a", b"%d" % number)
            syncing, reading = reader.sync(), reader.get("/a")
            await syncing
            self.assertEqual((await reading)[0], b"%d" % number)
