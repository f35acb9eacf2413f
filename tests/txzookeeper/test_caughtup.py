"""Being sure to read what others wrote, on a ZooKeeper kept in memory."""

from __future__ import annotations

from kazoo.exceptions import ConnectionLoss, SessionExpiredError

from nodepool_tx.txzookeeper.caughtup import caught_up
from tests.testing.zk_steps import MemoryZookeeperTestCase


class CaughtUpTests(MemoryZookeeperTestCase):
    """One request that takes its place among all changes."""

    def test_changes_nothing(self) -> None:
        """It is one transaction, and leaves the tree as it was."""
        client = self.connected()
        self.inspector.create("/a")
        before = self.inspector.stat("/")
        self.inspector.requests.clear()
        self.assertIsNone(self.done(caught_up(client)))
        self.assertEqual(self.inspector.requests, {"transaction": 1})
        self.assertEqual(self.inspector.stat("/"), before)

    def test_without_a_root(self) -> None:
        """A chroot that was not made yet is no obstacle."""
        client = self.connected("/not/yet")
        self.assertIsNone(self.done(caught_up(client)))

    def test_without_an_answer(self) -> None:
        """A connection that breaks leaves it open, as with any request."""
        client = self.connected()
        self.inspector.lose_reply_next("transaction")
        self.fails(caught_up(client), ConnectionLoss)
        self.inspector.suspend(client)
        self.failureResultOf(caught_up(client), ConnectionLoss)
        self.done(client.close())
        self.failureResultOf(caught_up(client), SessionExpiredError)
