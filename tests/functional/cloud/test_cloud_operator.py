"""What people and others do to nodes: deleted at the wrong time, deleted in order, spoilt."""

from __future__ import annotations

import contextlib

from kazoo.exceptions import NoNodeError, NotEmptyError
from twisted.internet.threads import deferToThread

from nodepool_tx.store import paths
from tests.functional.cloud.scene import CloudScene, label, provider
from tests.nodescan.contract import asynchronous


class Operated(CloudScene):
    async def _prepare(self) -> None:
        await super()._prepare()
        self.sky = self.cloud("sky", boot_delay=0.3)
        self.daemon = self.cloud_launcher(
            self.config(provider("sky", label("small"), label("kept")), min_ready={"kept": 1})
        )
        self.asker = await self.requester()
        self.hand = await self.client()
        (self.stock,) = await self.until_settled(kept=1)

    @asynchronous
    async def test_record_of_a_building_node_is_removed(self) -> None:
        """Its server is deleted, which is said, and its request is answered."""
        self.sky.behave(boot_delay=30.0)
        asked = await self.asker.ask("small")
        await self.until("it is being made", lambda: len(self.sky.made) == 2)
        node_id = self.sky.made[-1].node_id
        assert node_id is not None
        await self.until("its id is written", lambda: self.written(node_id))
        await self.remove(node_id)
        body = await self.asker.answer(asked)
        self.assertEqual((body["state"], body["nodes"]), ("failed", []))
        await self.asker.withdraw(asked)
        await self.until_settled(kept=1)
        self.assertRegex(self.daemon.log, f"launch of node {node_id} of sky is cut off, ")
        self.sky.behave(boot_delay=0.3)
        await self.asker.job("small")
        await self.until_settled(kept=1)
        self.assert_nothing_unforeseen()

    async def remove(self, node_id: str) -> None:
        """Remove a record with its lock, as a person with ZooKeeper's own client does.

        Whose lock is taken away may ask for it again in between.
        """
        path, lock = paths.node(node_id), paths.node_lock(node_id)
        while node_id in await self.sight.children(paths.NODES):
            below = await self.sight.children(lock)
            for each in (*(f"{lock}/{name}" for name in below), lock, path):
                with contextlib.suppress(NoNodeError, NotEmptyError):
                    await self.hand.delete(each)

    async def written(self, node_id: str) -> bool:
        record = await self.sight.node(node_id)
        return record is not None and record["external_id"] is not None

    @asynchronous
    async def test_ready_node_is_deleted(self) -> None:
        """The command waits for the end of the server, and the stock is filled again."""
        done = await deferToThread(self.daemon.nodepool, "delete", self.stock.id)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertNotIn(self.stock.data["external_id"], self.sky.servers)
        (new,) = await self.until_settled(kept=1)
        self.assertNotEqual(new.id, self.stock.id)
        self.assertRegex(self.daemon.log, f"deleting node {self.stock.id} of sky")
        self.assert_nothing_unforeseen()

    @asynchronous
    async def test_building_node_is_deleted(self) -> None:
        """The command waits for the end of its launch, and then it goes, whoever waits for it."""
        self.sky.behave(boot_delay=2.0)
        asked = await self.asker.ask("small")
        await self.until("it is being made", lambda: len(self.sky.made) == 2)
        node_id = self.sky.made[-1].node_id
        assert node_id is not None
        done = await deferToThread(self.daemon.nodepool, "delete", node_id)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("is building and locked, waiting", done.stderr)
        await self.asker.answer(asked)
        await self.asker.withdraw(asked)
        await self.until("it is gone", lambda: self.is_gone(node_id))
        await self.until_settled(kept=1)
        self.assert_nothing_unforeseen()

    @asynchronous
    async def test_rubbish_in_a_node(self) -> None:
        """A record that cannot be read is said, and neither it nor its server is touched."""
        path = paths.node(self.stock.id)
        data, _ = await self.hand.get(path)
        await self.hand.set(path, b"{rubbish")
        await self.until_logged(self.daemon, f"{self.stock.id}.*(unreadable|not JSON|cannot)")
        await self.asker.job("small")
        # Two sweeps for what is left over.
        await self.sleep(2.5)
        self.assertIn(self.stock.data["external_id"], self.sky.servers)
        nodes = await self.sight.nodes()
        self.assertEqual([node.id for node in nodes if node.id == self.stock.id], [])
        await self.hand.set(path, data)
        await self.until("it is in stock again", self.in_stock)
        self.assert_nothing_unforeseen()

    async def is_gone(self, node_id: str) -> bool:
        return await self.sight.node(node_id) is None

    async def in_stock(self) -> bool:
        return any(node.id == self.stock.id and node.free for node in await self.sight.nodes())

    @asynchronous
    async def test_rubbish_in_a_building_node(self) -> None:
        """Its launch ends, its request is answered, and everybody else is served."""
        self.sky.behave(boot_delay=2.0)
        asked = await self.asker.ask("small")
        await self.until("it is being made", lambda: len(self.sky.made) == 2)
        node_id = self.sky.made[-1].node_id
        assert node_id is not None
        await self.until("its id is written", lambda: self.written(node_id))
        await self.hand.set(paths.node(node_id), b"\xff[]")
        body = await self.asker.answer(asked)
        self.assertEqual((body["state"], body["nodes"]), ("failed", []))
        await self.asker.withdraw(asked)
        self.sky.behave(boot_delay=0.3)
        await self.asker.job("small")
        self.assertIn(node_id, await self.sight.children(paths.NODES))
        await self.remove(node_id)
        await self.until_settled(kept=1)
        self.assert_nothing_unforeseen()
