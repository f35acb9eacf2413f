"""Many requests, many children, big values."""

from __future__ import annotations

from kazoo.exceptions import BadArgumentsError, ConnectionLoss
from twisted.internet.defer import gatherResults
from twisted.trial.unittest import TestCase

from nodepool_tx.txzookeeper.interface import SessionState
from nodepool_tx.txzookeeper.retry import until_connected
from tests.contract.zookeeper import EventLog, asynchronous
from tests.functional.zk_clients import RealServerSteps


class VolumeTests(RealServerSteps, TestCase):
    """Sizes a large installation reaches."""

    @asynchronous
    async def test_ten_thousand_in_flight(self) -> None:
        """Ten thousand requests made at once are all answered, in order."""
        client = await self.connected()
        await client.create("/a")
        writing = [client.set("/a", b"%d" % number) for number in range(10_000)]
        self.assertEqual(client.counters.in_flight, 10_000)
        stats = await gatherResults(writing)
        self.assertEqual([stat.version for stat in stats], list(range(1, 10_001)))
        counters = client.counters.snapshot()
        self.assertEqual((counters["requests"], counters["replies"]), (10_001, 10_001))
        self.assertEqual((counters["in_flight"], counters["lost"], counters["errors"]), (0, 0, 0))
        self.assertGreater(counters["latency_sum"], 0)
        self.assertGreater(counters["bytes_sent"], 10_000 * 20)

    @asynchronous
    async def test_ten_thousand_lost(self) -> None:
        """A cut with ten thousand requests in flight fails each of them once."""
        client = await self.connected()
        await client.create("/a")
        results: list[object] = []
        for number in range(10_000):
            client.set("/a", b"%d" % number).addBoth(
                lambda result: results.append(getattr(result, "type", None))
            )
        self.cut(client)
        self.assertEqual(results, [ConnectionLoss] * 10_000)
        self.assertEqual(client.counters.in_flight, 0)

    @asynchronous
    async def test_twenty_thousand_children(self) -> None:
        """A long list of children is made, watched, read and removed."""
        client = await self.connected()
        names = [f"node-{number:010d}-with-a-long-name" for number in range(20_000)]
        log = EventLog()
        await client.watch("/", log, recursive=True)
        await client.create("/p")
        await gatherResults([client.create("/p/" + name) for name in names])
        self.assertEqual(len(log.events), 20_001)
        self.assertEqual(sorted(await client.get_children("/p")), names)
        await client.delete_tree("/p")
        self.assertIsNone(await client.exists("/p"))
        self.assertEqual(len(log.events), 40_002)

    @asynchronous
    async def test_many_watches_set_again(self) -> None:
        """More watches than fit into one request survive a reconnect."""
        client = await self.connected()
        other = await self.connected()
        paths = [f"/{'x' * 150}-{number}" for number in range(3000)]
        await gatherResults([client.create(path) for path in paths])
        reads = [client.get_and_watch(path) for path in paths]
        missing = [client.exists_and_watch(path + "-missing") for path in paths]
        log = EventLog()
        await client.watch("/", log, recursive=True)
        await gatherResults([reading for reading, _ in reads + missing])
        self.assertEqual(client.counters.watches, 6001)
        self.cut(client)
        await gatherResults([other.set(path, b"1") for path in paths])
        await gatherResults([other.create(path + "-missing") for path in paths])
        await gatherResults([watch for _, watch in reads + missing])
        self.assertEqual(client.counters.watches, 1)
        log.events.clear()
        await other.set(paths[0], b"2")
        await client.sync()
        self.assertEqual(len(log.events), 1)

    @asynchronous
    async def test_too_big_a_request(self) -> None:
        """What the server would hang up on is refused here, and disturbs nobody."""
        client = await self.connected()
        session = client.session_id
        reading = client.exists("/")
        try:
            await client.create("/big", b"x" * 1_048_576)
        except BadArgumentsError as error:
            self.assertIn("at most 1048575", str(error))
        else:
            self.fail("a megabyte was taken")
        await reading
        await client.create("/fits", b"x" * 1_000_000)
        self.assertEqual(len((await client.get("/fits"))[0]), 1_000_000)
        self.assertIs(client.state, SessionState.CONNECTED)
        self.assertEqual((client.session_id, client.counters.reconnects), (session, 0))

    @asynchronous
    async def test_hung_up_on(self) -> None:
        """A server with a lower limit hangs up; the client pauses and goes on."""
        client = await self.connected(max_request=4_000_000)
        for _ in range(2):
            try:
                await client.create("/big", b"x" * 1_200_000)
            except ConnectionLoss:
                pass
            else:
                self.fail("the server took it")
            await until_connected(client)
        self.assertEqual(await client.get_children("/"), [])
