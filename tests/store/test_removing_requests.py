"""Removing a request as part of a change: only while nobody works on it."""

from __future__ import annotations

import attrs

from nodepool_tx.model import NodeState, RequestState
from nodepool_tx.store import paths
from nodepool_tx.store.change import Locked, Moved, Vanished
from nodepool_tx.store.codec import encode_request
from tests.store.harness import StoreTestCase, ready_node, waiting_request


class RemoveRequestTests(StoreTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.request = self.put_request(waiting_request())
        self.lock = paths.request_lock(self.request.id)

    def test_with_a_node(self) -> None:
        """The node is free and the request gone, in one step; its lock's directory goes too."""
        node = self.put_node(ready_node(allocated_to=self.request.id))
        self.inspector.create(self.lock)
        self.settle()
        change = self.store.change()
        change.update_node(node, attrs.evolve(node, allocated_to=None))
        change.remove_request(self.request)
        self.inspector.requests.clear()
        self.run_until_done(change.commit())
        self.assertEqual(self.inspector.requests["transaction"], 1)
        self.assertIsNone(self.request_there(self.request.id))
        self.assertFalse(self.exists(self.lock))
        self.assertTrue(self.nodes.is_free(node.id))
        self.assertEqual(len(self.requests), 0)

    def test_without_a_lock(self) -> None:
        """One that was never locked leaves nothing behind, and neither does its removal."""
        change = self.store.change()
        change.remove_request(self.request)
        self.run_until_done(change.commit())
        self.assertIsNone(self.request_there(self.request.id))
        self.assertFalse(self.exists(self.lock))

    def test_locked(self) -> None:
        """Somebody works on it: nothing happens, to a node neither."""
        node = self.put_node(ready_node(allocated_to=self.request.id))
        self.lock_request(self.request.id)
        self.settle()
        self.refused(Locked, node.id)

    def test_locked_unheard_of(self) -> None:
        """Also where nobody has told us of the lock yet, whether its directory was there or not."""
        for known in (False, True):
            if known:
                self.inspector.delete_tree(self.lock)
                self.inspector.create(self.lock)
                self.settle()
            self.inspector.before("transaction", lambda call: self.take(), times=1)
            self.refused(Locked)

    def test_a_directory_that_comes_or_goes(self) -> None:
        """What is believed of it is corrected, and the request removed all the same."""
        self.inspector.before("transaction", lambda call: self.make_directory(), times=1)
        change = self.store.change()
        change.remove_request(self.request)
        self.run_until_done(change.commit())
        self.assertFalse(self.exists(self.lock))
        other = self.put_request(waiting_request())
        lock = paths.request_lock(other.id)
        self.inspector.create(lock)
        self.settle()
        self.inspector.before("transaction", lambda call: self.inspector.delete(lock), times=1)
        change = self.store.change()
        change.remove_request(other)
        self.run_until_done(change.commit())
        self.assertIsNone(self.request_there(other.id))

    def test_written_since(self) -> None:
        """Whoever wrote it may have promised something."""
        pending = self.request.in_state(RequestState.PENDING, 5.0)
        self.inspector.set(paths.request(self.request.id), encode_request(pending))
        self.refused(Moved)

    def test_gone(self) -> None:
        """Its session ended, or somebody else removed it."""
        self.inspector.delete(paths.request(self.request.id))
        change = self.store.change()
        change.remove_request(self.request)
        self.failure_of(change.commit(), Vanished)
        self.assertFalse(self.exists(self.lock))

    def test_whose_session(self) -> None:
        """An ephemeral request is known to be of this session, or of another's."""
        data = encode_request(waiting_request())
        for owner, ours in ((self.client, True), (self.visitor, False), (None, False)):
            path = self.inspector.create(f"{paths.REQUESTS}/900-", data, owner=owner, sequence=True)
            self.settle()
            request_id = path.rpartition("/")[2]
            self.assertIs(self.store.is_request_of_this_session(request_id), ours)
        self.assertFalse(self.store.is_request_of_this_session("900-0000000099"))

    def take(self) -> None:
        self.lock_request(self.request.id)

    def make_directory(self) -> None:
        self.inspector.create(self.lock)

    def refused(self, error: type[Exception], node_id: str = "") -> None:
        change = self.store.change()
        if node_id:
            node = self.known_node(node_id)
            change.update_node(node, node.in_state(NodeState.READY, 9.0, allocated_to=None))
        change.remove_request(self.request)
        self.failure_of(change.commit(), error)
        self.assertIsNotNone(self.request_there(self.request.id))
        if node_id:
            there = self.node_there(node_id)
            assert there is not None
            self.assertEqual(there.allocated_to, self.request.id)
