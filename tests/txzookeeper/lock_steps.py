"""A thing with a lock, on a ZooKeeper kept in memory."""

from __future__ import annotations

from typing import Any

from nodepool_tx.testing.zookeeper import MemoryClient
from nodepool_tx.txzookeeper.lock import Lock
from tests.testing.zk_steps import MemoryZookeeperTestCase

__all__ = ["LockTestCase"]


class LockTestCase(MemoryZookeeperTestCase):
    """A thing ``/n`` with a lock ``/n/lock``, and two clients."""

    def setUp(self) -> None:
        super().setUp()
        self.client = self.connected()
        self.other = self.connected()
        self.inspector.create("/n", b"thing")
        self.inspector.requests.clear()

    def lock(self, client: MemoryClient | None = None, name: str = "me", **options: Any) -> Lock:
        return Lock(client or self.client, "/n/lock", name, clock=self.clock, **options)

    def queue(self) -> list[str]:
        """Paths of the contenders in the lock's directory, the holder first."""
        paths = [path for path in self.inspector.dump("/n/lock") if path != "/n/lock"]
        return sorted(paths, key=lambda path: path[-10:])

    def taken(self, lock: Lock) -> Lock:
        self.done(lock.acquire())
        self.assertTrue(lock.held)
        return lock
