"""Conditions of a change: nodes that must not have changed, fences that nobody passed."""

from __future__ import annotations

import attrs

from nodepool_tx.model import NodeState
from nodepool_tx.store import paths
from nodepool_tx.store.change import Moved, Vanished
from nodepool_tx.store.codec import encode_node
from tests.store.harness import ready_node
from tests.store.test_change import ChangeTestCase


class RequirementTests(ChangeTestCase):
    """A node that must be what it was, and is not written."""

    def setUp(self) -> None:
        super().setUp()
        self.other = self.put_node(ready_node())

    async def promise_if_other_is_there(self) -> None:
        change = self.store.change()
        change.update_node(self.node, self.promised)
        change.require_node(self.other)
        await change.commit()

    def test_it_is_what_it_was(self) -> None:
        """Then the change is made; it does not matter who holds its lock."""
        self.lock_node(self.other.id)
        self.settle()
        self.run_until_done(self.promise_if_other_is_there())
        self.assertEqual(self.node_there(self.node.id), self.promised)
        stat = self.inspector.stat(paths.node(self.other.id))
        assert stat is not None
        self.assertEqual(stat.version, 0)

    def test_it_was_written(self) -> None:
        """Then nothing is changed."""
        used = attrs.evolve(self.other, state=NodeState.USED)
        self.just_before(lambda: self.inspector.set(paths.node(used.id), encode_node(used)))
        self.failure_of(self.promise_if_other_is_there(), Moved)
        self.assert_untouched()

    def test_it_is_gone(self) -> None:
        """Neither then."""
        self.just_before(lambda: self.inspector.delete_tree(paths.node(self.other.id)))
        self.failure_of(self.promise_if_other_is_there(), Vanished)
        self.assert_untouched()


class FenceTests(ChangeTestCase):
    """Two changes that saw the same fence cannot both be made."""

    async def pass_fence(self) -> None:
        version = await self.store.fences.approach("t")
        change = self.store.change()
        change.update_node(self.node, self.promised)
        change.pass_fence("t", version)
        await change.commit()
        self.store.fences.passed("t", version)

    def test_it_is_put_up(self) -> None:
        """The first to come puts it up, and passes it."""
        self.assertIsNone(self.store.fences.version("t"))
        self.run_until_done(self.pass_fence())
        self.assertEqual(self.store.fences.version("t"), 1)
        self.assertEqual(self.node_there(self.node.id), self.promised)

    def test_passed_by_somebody_else(self) -> None:
        """Who comes second changes nothing."""
        self.run_until_done(self.store.fences.approach("t"))
        self.just_before(lambda: self.inspector.set(paths.tenant("t"), b""))
        self.failure_of(self.pass_fence(), Moved)
        self.assert_untouched()
        self.settle()
        self.assertEqual(self.store.fences.version("t"), 1)

    def test_removed_meanwhile(self) -> None:
        """Neither does who finds it gone."""
        self.run_until_done(self.store.fences.approach("t"))
        self.just_before(lambda: self.inspector.delete(paths.tenant("t")))
        self.failure_of(self.pass_fence(), Vanished)
        self.assert_untouched()

    def test_all_that_was_given_is_seen(self) -> None:
        """At a version that somebody else led to, one read waits for what came with it."""
        self.run_until_done(self.store.fences.approach("t"))
        self.inspector.set(paths.tenant("t"), b"")
        self.settle()
        self.inspector.requests.clear()
        self.run_until_done(self.store.fences.approach("t"))
        self.assertEqual(self.inspector.requests, {"exists": 1})

    def test_nothing_to_wait_for(self) -> None:
        """Where the last to pass it were we, there is nothing to wait for."""
        self.run_until_done(self.pass_fence())
        self.settle()
        self.inspector.requests.clear()
        self.assertEqual(self.run_until_done(self.store.fences.approach("t")), 1)
        self.assertEqual(self.inspector.requests, {})
