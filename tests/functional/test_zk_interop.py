"""kazoo and this client see the same tree, in both directions."""

from __future__ import annotations

from typing import Any

from kazoo.client import TransactionRequest
from kazoo.exceptions import BadVersionError, RolledBackError, RuntimeInconsistency
from kazoo.protocol.states import EventType
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from nodepool_tx.txzookeeper.interface import TransactionFailed, WatchEvent, WatchKind
from tests.contract.zookeeper import EventLog, asynchronous
from tests.functional.zk_clients import RealServerSteps


class InteropTests(RealServerSteps, TestCase):
    """One client of each kind on the same root."""

    @asynchronous
    async def test_kazoo_reads_ours(self) -> None:
        """Data, stat and kind of what we write are what kazoo reads."""
        ours = await self.connected()
        theirs = self.kazoo()
        await ours.create("/a", b"\x00\xff data")
        await ours.create("/ä/e-", b"", ephemeral=True, sequence=True, makepath=True)
        stat = await ours.set("/a", b"new")
        self.assertEqual(theirs.get("/a"), (b"new", stat))
        self.assertEqual(theirs.get_children("/ä"), ["e-0000000000"])
        found = theirs.exists("/ä/e-0000000000")
        self.assertEqual(found.owner_session_id, ours.session_id)
        self.assertEqual(theirs.get_acls("/a")[0][0].acl_list, ["ALL"])

    @asynchronous
    async def test_ours_reads_kazoo(self) -> None:
        """Data, stat and kind of what kazoo writes are what we read."""
        ours = await self.connected()
        theirs = self.kazoo()
        theirs.create("/ü/e-", b"1", ephemeral=True, sequence=True, makepath=True)
        theirs.create("/null", None)
        stat = theirs.set("/ü/e-0000000000", b"2")
        await ours.sync()
        self.assertEqual(await ours.get("/ü/e-0000000000"), (b"2", stat))
        self.assertEqual(stat.ephemeralOwner, theirs.client_id[0])
        self.assertEqual((await ours.get("/null"))[0], b"")

    @asynchronous
    async def test_transactions(self) -> None:
        """Both kinds of client commit and refuse the same transactions alike."""
        ours = await self.connected()
        theirs = self.kazoo()

        def fill(transaction: Any, root: str) -> None:
            transaction.create(root, b"1")
            transaction.create(root + "/s-", b"", sequence=True)
            if isinstance(transaction, TransactionRequest):
                transaction.set_data(root, b"2", 0)
            else:
                transaction.set(root, b"2", 0)
            transaction.check(root, 1)

        mine, his = ours.transaction(), theirs.transaction()
        fill(mine, "/ours")
        fill(his, "/theirs")
        got, expected = await mine.commit(), his.commit()
        self.assertEqual(got[:2], ["/ours", "/ours/s-0000000000"])
        self.assertEqual(expected[:2], ["/theirs", "/theirs/s-0000000000"])
        self.assertEqual(theirs.get("/ours"), (b"2", theirs.exists("/ours")))
        self.assertEqual((await ours.get("/theirs"))[0], b"2")

        mine, his = ours.transaction(), theirs.transaction()
        for transaction in (mine, his):
            transaction.delete("/ours/s-0000000000")
            transaction.check("/ours", 9)
            transaction.delete("/ours")
        try:
            await mine.commit()
        except TransactionFailed as failed:
            self.assertEqual(failed.index, 1)
            self.assertIsInstance(failed.error, BadVersionError)
        else:
            self.fail("committed")
        refused = his.commit()
        self.assertEqual(
            [type(error) for error in refused],
            [RolledBackError, BadVersionError, RuntimeInconsistency],
        )

    @asynchronous
    async def test_watches(self) -> None:
        """Each sees what the other does."""
        ours = await self.connected()
        theirs = self.kazoo()
        log = EventLog()
        await ours.watch("/", log, recursive=True)
        theirs.ensure_path("/a/b")
        theirs.set("/a", b"1")
        theirs.delete("/a", recursive=True)
        expected = [
            WatchEvent(WatchKind.CREATED, "/a"),
            WatchEvent(WatchKind.CREATED, "/a/b"),
            WatchEvent(WatchKind.CHANGED, "/a"),
            WatchEvent(WatchKind.DELETED, "/a/b"),
            WatchEvent(WatchKind.DELETED, "/a"),
        ]
        self.assertEqual([await log.next() for _ in expected], expected)
        heard: Deferred[Any] = Deferred()
        theirs.exists("/b", watch=lambda event: reactor.callFromThread(heard.callback, event))
        await ours.create("/b")
        event = await heard
        self.assertEqual((event.type, event.path), (EventType.CREATED, "/b"))

    @asynchronous
    async def test_trees(self) -> None:
        """Each removes what the other built."""
        ours = await self.connected()
        theirs = self.kazoo()
        theirs.ensure_path("/a/b/c")
        await ours.ensure_path("/a/b/d")
        await ours.create("/x/y", makepath=True)
        await ours.delete_tree("/a")
        theirs.delete("/x", recursive=True)
        await ours.sync()
        self.assertEqual(await ours.get_children("/"), [])

    @asynchronous
    async def test_ephemerals_end_with_either(self) -> None:
        """Closing either client removes its ephemerals before the other looks."""
        ours = await self.connected()
        theirs = self.kazoo()
        theirs.create("/theirs", ephemeral=True)
        await ours.create("/ours", ephemeral=True)
        looking, watch = ours.exists_and_watch("/theirs")
        self.assertEqual((await looking).ephemeralOwner, theirs.client_id[0])
        await deferToThread(theirs.stop)
        self.assertEqual(await watch, WatchEvent(WatchKind.DELETED, "/theirs"))
        await ours.close()
        other = await self.connected()
        self.assertEqual(await other.get_children("/"), [])
