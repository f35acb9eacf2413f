"""Named after what goes wrong with requests in Nodepool 11.0.0, and must not here.

The numbers are those of ``docs/defects.md``.
"""

from __future__ import annotations

from kazoo.exceptions import ConnectionLoss

from nodepool_tx.model import NodeState
from nodepool_tx.store import paths
from tests.pools.harness import PoolTestCase


class DefectTests(PoolTestCase):
    def lock_directories(self) -> list[str]:
        """Of nodes and requests, whoever made them."""
        tree = [*self.inspector.dump(paths.NODES), *self.inspector.dump(paths.REQUEST_LOCKS)]
        return [path for path in tree if path.endswith("/lock") or paths.REQUEST_LOCKS in path]

    def test_defect_1_a_hiccup_at_the_last_write_strands_no_request(self) -> None:
        """The write that fulfils it is made again, and until then it is open and unlocked."""
        self.add_node("a")
        self.settle()
        self.inspector.suspend(self.client)
        self.inspector.fail_next("transaction", ConnectionLoss(), client=self.client)
        request_id = self.add_request("a")
        self.settle()
        self.assert_waits(request_id)
        self.assertNotIn(paths.request_lock(request_id), self.lock_directories())
        self.inspector.resume(self.client)
        self.settle()
        self.assert_served(request_id)
        self.assert_nothing_held()

    def test_defect_2_a_request_for_more_than_is_free_stays_open(self) -> None:
        """With one free of two it is never pending, and served the moment the other is free."""
        first, second = self.add_node("a"), self.add_node("a")
        self.settle()
        contender = self.lock_node(second)
        self.settle()
        request_id = self.add_request("a", "a")
        self.settle()
        self.clock.advance(3600)
        self.settle()
        self.assert_waits(request_id)
        self.delete(contender)
        self.settle()
        self.assert_served(request_id)
        self.assertEqual(set(self.request(request_id).nodes), {first, second})

    def test_defect_3_and_4_a_shortage_deletes_nothing_however_long_it_lasts(self) -> None:
        """Free nodes of other labels stay what they are, to the byte."""
        others = [self.add_node("b"), self.add_node("c")]
        self.settle()
        before = {node_id: self.node(node_id) for node_id in others}
        for _ in range(50):
            self.add_request("a")
        for _ in range(600):
            self.clock.advance(1)
            self.settle()
        self.assertEqual({node_id: self.node(node_id) for node_id in others}, before)
        self.assertEqual([self.node(node_id).version for node_id in others], [0, 0])

    def test_defect_8_a_vanished_node_ends_no_pass_and_leaves_no_lock(self) -> None:
        """Others are served in the same pass, and nothing is made anew where the node was."""
        doomed = self.add_node("a")
        kept = [self.add_node("b"), self.add_node("c")]
        self.settle()
        self.inspector.before("transaction", lambda call: self.delete(paths.node(doomed)))
        requests = [self.add_request(label) for label in "abc"]
        self.settle()
        self.assert_waits(requests[0])
        self.assert_served(requests[1], kept[0])
        self.assert_served(requests[2], kept[1])
        self.assertNotIn(doomed, self.nodes())
        self.assertEqual([path for path in self.inspector.dump(paths.NODES) if doomed in path], [])
        self.assert_nothing_held()

    def test_defect_12_a_cancelled_request_stops_nobody_and_costs_no_node(self) -> None:
        """Withdrawn while it waits, or while it is served: those behind it are served at once."""
        waiting = self.add_request("a", "a")
        self.settle()
        self.delete(paths.request(waiting))
        node_id = self.add_node("a")
        self.source.hold()
        served = self.add_request("a")
        self.settle()
        self.delete(paths.request(served))
        next_one = self.add_request("a")
        self.source.let_go()
        self.settle()
        self.assert_served(next_one, node_id)
        self.assert_nothing_held()

    def test_defect_16_tenants_are_not_counted_over_all_nodes_for_each_request(self) -> None:
        """What a tenant uses is known: no other node is looked at for it."""
        self.limits.limits = {"acme": {"instances": 3}}
        in_use = {"state": NodeState.IN_USE, "allocated_to": "x", "tenant_name": "other"}
        others = {self.add_node("b", **in_use) for _ in range(200)}
        for _ in range(5):
            self.add_node("a")
        self.settle()
        looked_at: list[str] = []
        get = self.store.nodes.get
        self.patch(self.store.nodes, "get", lambda i: looked_at.append(i) or get(i))
        self.patch(type(self.store.nodes), "__iter__", lambda table: 1 / 0)
        requests = [self.add_request("a", tenant_name="acme") for _ in range(20)]
        self.settle()
        self.assertEqual(self.flushLoggedErrors(), [])
        self.assertEqual(others & set(looked_at), set())
        states = [self.state(request_id) for request_id in requests]
        self.assertEqual(states, ["fulfilled"] * 3 + ["requested"] * 17)

    def test_defect_20_trouble_that_passes_is_no_decline(self) -> None:
        """With all machines dead the request waits, declined by nobody, until one is back."""
        dead = [self.add_node("a") for _ in range(3)]
        self.source.make_unfit(*dead)
        request_id = self.add_request("a")
        self.settle()
        self.clock.advance(3600)
        self.settle()
        self.assert_waits(request_id)
        self.assertEqual(self.request(request_id).declined_by, ())
        back = self.add_node("a")
        self.settle()
        self.assert_served(request_id, back)

    def test_defect_25_what_changed_while_a_session_ended_is_seen(self) -> None:
        """A node that was reserved, or locked, when the session ended is as it is now."""
        self.source.hold()
        node_id = self.add_node("a")
        request_id = self.add_request("a")
        self.settle()
        self.inspector.suspend(self.client)
        self.delete(paths.request(request_id))
        self.change_node(node_id, type=("b",), comment="meanwhile")
        contender = self.lock_node(node_id)
        self.inspector.expire(self.client)
        self.inspector.resume(self.client)
        self.source.let_go()
        self.settle()
        node = self.store.nodes.get(node_id)
        assert node is not None
        self.assertEqual((node.type, node.comment), (("b",), "meanwhile"))
        self.assertTrue(self.store.nodes.is_locked(node_id))
        self.delete(contender)
        self.settle()
        self.assert_free(node_id)
        self.assert_nothing_held()
