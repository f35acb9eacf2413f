"""What the client does when the network cuts, delays, swallows and refuses."""

from __future__ import annotations

import time

from kazoo.exceptions import ConnectionLoss
from twisted.internet.defer import Deferred, gatherResults
from twisted.trial.unittest import TestCase

from nodepool_tx.txzookeeper.interface import SessionState, WatchEvent, WatchKind
from nodepool_tx.txzookeeper.retry import retry_reads, until_connected
from tests.contract.zookeeper import EventLog, asynchronous, outcome, reached
from tests.functional.zk_clients import RealServerSteps, seconds

SUSPENDED, CONNECTED, EXPIRED = (
    SessionState.SUSPENDED,
    SessionState.CONNECTED,
    SessionState.EXPIRED,
)


class ProxyTests(RealServerSteps, TestCase):
    """A client behind a proxy, another beside it."""

    @asynchronous
    async def test_cut(self) -> None:
        """A reset connection is replaced at once and the session goes on."""
        proxy, client, states = await self.through_proxy()
        await client.create("/e", ephemeral=True)
        for _ in range(3):
            back = reached(client, CONNECTED)
            flying = client.set("/e", b"1")
            proxy.cut()
            result = outcome(flying)
            await back
            if isinstance(result[0], Exception):
                self.assertIsInstance(result[0], ConnectionLoss)
        self.assertEqual(states, [SUSPENDED, CONNECTED] * 3)
        self.assertEqual(client.session_epoch, 1)
        self.assertEqual((await client.exists("/e")).ephemeralOwner, client.session_id)
        self.assertEqual(client.counters.reconnects, 3)

    @asynchronous
    async def test_missed_changes(self) -> None:
        """Watches fire for what changed while no connection could be made."""
        proxy, client, states = await self.through_proxy()
        other = await self.connected()
        await gatherResults(
            [client.create("/changed"), client.create("/gone"), client.create("/p")]
        )
        reads = {
            WatchEvent(WatchKind.CHANGED, "/changed"): client.get_and_watch("/changed"),
            WatchEvent(WatchKind.DELETED, "/gone"): client.get_and_watch("/gone"),
            WatchEvent(WatchKind.CREATED, "/new"): client.exists_and_watch("/new"),
            WatchEvent(WatchKind.CHILDREN, "/p"): client.get_children_and_watch("/p"),
        }
        log = EventLog()
        await client.watch("/", log, recursive=True)
        for reading, _ in reads.values():
            await reading
        down = reached(client, SUSPENDED)
        await proxy.refuse()
        await down
        await other.set("/changed", b"1")
        await other.delete("/gone")
        await other.create("/new")
        await other.create("/p/child")
        order: list[str] = []
        for _, watch in reads.values():
            watch.addCallback(lambda event: order.append("event") or event)
        reading = until_connected(client).addCallback(lambda _: client.get("/changed"))
        reading.addCallback(lambda result: order.append("data") or result)
        proxy.heal()
        self.assertEqual((await reading)[0], b"1")
        self.assertEqual(order, ["event"] * 4 + ["data"])
        for event, (_, watch) in reads.items():
            self.assertEqual(await watch, event)
        log.events.clear()
        await other.set("/new", b"1")
        await client.sync()
        self.assertEqual(log.seen, [(WatchKind.CHANGED, "/new")])
        self.assertEqual(states, [SUSPENDED, CONNECTED])

    @asynchronous
    async def test_delay(self) -> None:
        """A slow network costs time and nothing else; pipelining hides it."""
        proxy, client, states = await self.through_proxy()
        await client.create("/a")
        proxy.delay(0.1)
        started = time.monotonic()
        stats = await gatherResults([client.set("/a", b"1") for _ in range(50)])
        took = time.monotonic() - started
        self.assertEqual([stat.version for stat in stats], list(range(1, 51)))
        self.assertGreater(took, 0.2)
        # One after another they would take ten seconds.
        self.assertLess(took, 5.0)
        self.assertGreater(client.counters.latency_max, 0.2)
        self.assertEqual(states, [])

    @asynchronous
    async def test_blackhole(self) -> None:
        """A connection that went silent is given up in time to save the session."""
        proxy, client, states = await self.through_proxy(session_timeout=3)
        await client.create("/e", ephemeral=True)
        proxy.blackhole()
        down = reached(client, SUSPENDED)
        flying = outcome(client.get("/e"))
        await down
        proxy.heal()
        await until_connected(client)
        self.assertIsInstance(flying[0], ConnectionLoss)
        self.assertEqual(states, [SUSPENDED, CONNECTED])
        self.assertEqual((await client.exists("/e")).ephemeralOwner, client.session_id)

    @asynchronous
    async def test_blackhole_for_too_long(self) -> None:
        """A session that ran out meanwhile is reported as expired, then replaced."""
        proxy, client, states = await self.through_proxy(session_timeout=1)
        other = await self.connected()
        await client.create("/e", ephemeral=True)
        looking, watch = other.exists_and_watch("/e")
        await looking
        proxy.blackhole()
        self.assertEqual((await watch).kind, WatchKind.DELETED)
        again = reached(client, EXPIRED)
        proxy.heal()
        await again
        await until_connected(client)
        self.assertEqual(states, [SUSPENDED, EXPIRED, CONNECTED])
        self.assertEqual(client.session_epoch, 2)
        self.assertIsNone(await client.exists("/e"))

    @asynchronous
    async def test_lost_answers(self) -> None:
        """A write whose answer is lost fails with ConnectionLoss although it happened."""
        proxy, client, _ = await self.through_proxy(session_timeout=3)
        await client.create("/a", b"0")
        proxy.blackhole(answers_only=True)
        writing = outcome(client.set("/a", b"1"))
        other = await self.connected()
        while (await other.get("/a"))[0] != b"1":
            pass
        self.assertEqual(writing, [])
        proxy.cut()
        proxy.heal()
        self.assertEqual((await retry_reads(client, lambda: client.get("/a")))[0], b"1")
        self.assertIsInstance(writing[0], ConnectionLoss)

    @asynchronous
    async def test_refused(self) -> None:
        """While nobody listens it is tried again with pauses, and said why."""
        proxy, client, states = await self.through_proxy()
        down = reached(client, SUSPENDED)
        await proxy.refuse()
        await down
        started = time.monotonic()
        while client.counters.failed_attempts < 4:
            await seconds(0.02)
        self.assertGreater(time.monotonic() - started, 0.15)
        self.assertIn("refused", client.last_failure)
        self.assertIn(str(proxy.port), client.last_failure)
        proxy.heal()
        await until_connected(client)
        self.assertEqual(client.last_failure, "")
        self.assertEqual(states, [SUSPENDED, CONNECTED])

    @asynchronous
    async def test_reads_are_retried(self) -> None:
        """``retry_reads`` gets every read through a connection that keeps breaking."""
        proxy, client, _ = await self.through_proxy()
        await client.create("/a", b"1")
        proxy.delay(0.02)
        reads = [
            Deferred.fromCoroutine(retry_reads(client, lambda: client.get("/a"))) for _ in range(20)
        ]
        for _ in range(3):
            await seconds(0.01)
            proxy.cut()
            await seconds(0.1)
        self.assertEqual([data for data, _ in await gatherResults(reads)], [b"1"] * 20)
        self.assertGreater(client.counters.lost, 0)

    @asynchronous
    async def test_pings(self) -> None:
        """An idle session is kept alive for longer than its timeout."""
        _, client, states = await self.through_proxy(session_timeout=0.9)
        self.assertAlmostEqual(client.session_timeout, 0.9)
        await client.create("/e", ephemeral=True)
        await seconds(2.2)
        self.assertEqual((await client.exists("/e")).ephemeralOwner, client.session_id)
        self.assertEqual(states, [])
        self.assertGreaterEqual(client.counters.pings, 6)

    @asynchronous
    async def test_frozen_server(self) -> None:
        """A server that is stopped in its tracks is noticed like a dead network."""
        client = await self.connected(session_timeout=2)
        down = reached(client, SUSPENDED)
        self.server.freeze()
        try:
            await down
        finally:
            self.server.thaw()
        await until_connected(client)
        await client.exists("/")

    @asynchronous
    async def test_close_without_network(self) -> None:
        """Closing takes its bounded time when the session cannot be ended."""
        proxy, client, _ = await self.through_proxy()
        proxy.blackhole()
        started = time.monotonic()
        await client.close()
        self.assertLess(time.monotonic() - started, 5)
        self.assertIs(client.state, SessionState.CLOSED)

    @asynchronous
    async def test_close_while_suspended(self) -> None:
        """Closing between two connections still ends the session at once."""
        proxy, client, _ = await self.through_proxy(session_timeout=30)
        other = await self.connected()
        await client.create("/e", ephemeral=True)
        down = reached(client, SUSPENDED)
        await proxy.refuse()
        await down
        closing = client.close()
        proxy.heal()
        await closing
        await other.sync()
        self.assertIsNone(await other.exists("/e"))

    @asynchronous
    async def test_ipv6(self) -> None:
        """Servers are reached over IPv6."""
        _, client, _ = await self.through_proxy(interface="::1")
        self.assertIn("[::1]:", client.server)
        self.assertEqual(await client.create("/a"), "/a")

    @asynchronous
    async def test_host_name(self) -> None:
        """A name is resolved, and of its addresses one that answers is found."""
        client = await self.connected(address=f"localhost:{self.server.port}")
        self.assertIn("localhost (", client.server)
        self.assertEqual(await client.create("/a"), "/a")
