"""Counts of nodes and requests."""

from __future__ import annotations

from collections import Counter

from nodepool_tx.model import NodeState, RequestState
from nodepool_tx.status.tally import Tally
from nodepool_tx.store import paths
from tests.pools.harness import ZookeeperTestCase


class TallyTests(ZookeeperTestCase):
    """On a store that changes."""

    def setUp(self) -> None:
        super().setUp()
        self.store = self.make_store()
        self.tally = Tally(self.store)

    def check(self) -> None:
        """The counts are what counting gives, and a new tally begins with them."""
        self.settle()
        for tally in (self.tally, Tally(self.store)):
            nodes = Counter(node.state.value for node in self.store.nodes)
            self.assertEqual(tally.nodes(), dict(nodes))
            for name in ("rack", "sky", "none"):
                of_provider = [node for node in self.store.nodes if node.provider == name]
                counts = Counter(node.state.value for node in of_provider)
                self.assertEqual(tally.nodes_of(name), dict(counts))
            requests = Counter(request.state.value for request in self.store.requests)
            self.assertEqual(tally.requests(), dict(requests))

    def test_counts(self) -> None:
        """They follow every change."""
        ids = [self.add_node(provider=name) for name in ("rack", "rack", "sky", None)]
        request_id = self.add_request("a")
        self.add_request("b", state=RequestState.PENDING)
        self.check()
        self.change_node(ids[0], state=NodeState.IN_USE)
        self.change_node(ids[1], provider="sky")
        self.check()
        self.lock(paths.node_lock(ids[2]))
        self.inspector.set(paths.node(ids[3]), b"rubbish")
        self.inspector.delete_tree(paths.request(request_id))
        self.check()
        for node_id in ids:
            self.inspector.delete_tree(paths.node(node_id))
        self.check()
        self.assertEqual((self.tally.nodes(), self.tally.nodes_of("sky")), ({}, {}))
