"""Operations of others that are a part of a change of records."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs

from nodepool_tx.store import paths
from nodepool_tx.store.change import Change, Moved, Vanished
from nodepool_tx.testing.zookeeper import ServerCall
from nodepool_tx.txzookeeper.interface import Transaction
from tests.store.harness import StoreTestCase, ready_node

THERE = f"{paths.ROOT}/there"


def removal(path: str, version: int) -> Callable[[Transaction], None]:
    return lambda txn: txn.delete(path, version)


class CompanionTests(StoreTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.node = self.put_node(ready_node())
        self.after = attrs.evolve(self.node, comment="changed")
        self.inspector.create(THERE, b"before")
        self.results: list[Any] = []

    def change(self) -> Change:
        change = self.store.change()
        change.update_node(self.node, self.after)
        return change

    def test_together(self) -> None:
        """It happens with the change, after what is done to locks, and its result is told."""
        self.inspector.create(paths.node_lock(self.node.id))
        self.settle()
        change = self.change()
        lock = f"{paths.node_lock(self.node.id)}/ours"
        change.also("thing", "1", lambda txn: txn.set(THERE, b"after", 0), self.results.append)
        change.also("lock", "2", lambda txn: txn.create(lock))
        self.run_until_done(change.commit())
        self.assertEqual(self.inspector.dump(THERE), {THERE: b"after"})
        self.assertIsNotNone(self.inspector.stat(lock))
        self.assertEqual([stat.version for stat in self.results], [1])
        self.assertEqual(self.node_there(self.node.id), self.after)

    def test_it_is_tried_again_with_the_change(self) -> None:
        """What was believed wrongly of a lock's directory does not make it happen twice."""
        lock = paths.node_lock(self.node.id)

        def make(_: ServerCall) -> None:
            self.inspector.create(lock)

        self.inspector.before("transaction", make, client=self.client)
        change = self.change()
        change.also("thing", "1", lambda txn: txn.set(THERE, b"after", 0), self.results.append)
        self.run_until_done(change.commit())
        self.assertEqual([stat.version for stat in self.results], [1])

    def test_it_is_refused(self) -> None:
        """Then nothing of the change happens, and it is said what was refused."""
        for path, version, error in ((THERE, 7, Moved), (THERE + "/no", 0, Vanished)):
            with self.subTest(path=path):
                change = self.change()
                change.also("thing", "1", removal(path, version))
                failure = self.failure_of(change.commit(), error)
                self.assertEqual((failure.what, failure.id), ("thing", "1"))
                self.assertEqual(self.node_there(self.node.id), self.node)
