"""Handing out nodes: which request gets which, and what that costs."""

from __future__ import annotations

from nodepool_tx.model import MIN_READY_REQUESTOR, NodeState, RequestState
from nodepool_tx.pools.patience import LISTED_FOR, PATIENCE
from nodepool_tx.store import paths
from tests.pools.harness import PoolTestCase


class ServingTests(PoolTestCase):
    def test_one_node(self) -> None:
        """A request gets a free node, which is promised to it in its tenant's name."""
        node_id = self.add_node("a", comment="kept", user_data="kept too")
        request_id = self.add_request("a", tenant_name="t", requestor="me", event_id="e")
        self.settle()
        self.assert_served(request_id, node_id)
        node = self.node(node_id)
        self.assertEqual((node.tenant_name, node.requestor), ("t", "me"))
        self.assertEqual((node.comment, node.user_data), ("kept", "kept too"))
        request = self.request(request_id)
        self.assertEqual((request.event_id, request.declined_by), ("e", ()))
        self.assert_nothing_held()

    def test_what_a_hand_out_costs(self) -> None:
        """From request to hand-out is one read and one transaction; no other follows.

        The read is the request itself, which its creation announced.  What the
        hand-out has changed is known from its answer.
        """
        self.add_node("a")
        self.settle()
        self.inspector.requests.clear()
        request_id = self.add_request("a")
        until_then = {}
        self.inspector.after(
            "transaction", lambda _: until_then.update(self.inspector.requests), times=1
        )
        self.settle()
        self.assert_served(request_id)
        self.assertEqual(until_then, {"get": 1, "transaction": 1})
        self.assertEqual(self.inspector.requests, {"get": 1, "transaction": 1})

    def test_cost_of_several_nodes(self) -> None:
        """A request for several nodes is one transaction, too."""
        for _ in range(5):
            self.add_node("a")
        self.settle()
        self.inspector.requests.clear()
        request_id = self.add_request(*"aaaaa")
        self.settle()
        self.assert_served(request_id)
        self.assertEqual(self.inspector.requests["transaction"], 1)

    def test_request_waits_for_a_node(self) -> None:
        """A request that came first is served as soon as a node is there."""
        request_id = self.add_request("a")
        self.settle()
        self.assert_waits(request_id)
        node_id = self.add_node("a")
        self.settle()
        self.assert_served(request_id, node_id)

    def test_order_of_labels(self) -> None:
        """The nodes are in the order of the labels asked for."""
        one, two, three = self.add_node("b"), self.add_node("a"), self.add_node("b")
        request_id = self.add_request("b", "a", "b")
        self.settle()
        self.assert_served(request_id, one, two, three)

    def test_versatile_nodes(self) -> None:
        """A node with several labels serves the one that nothing else serves."""
        versatile, plain = self.add_node("a", "b"), self.add_node("a")
        request_id = self.add_request("a", "b")
        self.settle()
        self.assert_served(request_id, plain, versatile)

    def test_versatile_nodes_are_spared(self) -> None:
        """A request that a plain node can serve leaves the versatile one to others."""
        versatile, plain = self.add_node("a", "b", "c"), self.add_node("a")
        self.settle()
        first, second = self.add_request("a"), self.add_request("c")
        self.settle()
        self.assert_served(first, plain)
        self.assert_served(second, versatile)

    def test_no_labels(self) -> None:
        """A request for nothing is fulfilled with nothing."""
        request_id = self.add_request()
        self.settle()
        self.assert_served(request_id)

    def test_only_free_nodes_of_the_pool(self) -> None:
        """Nodes elsewhere, promised, locked, or not ready are not given."""
        self.add_node("a", pool="other")
        self.add_node("a", provider="other")
        self.add_node("a", allocated_to="100-0000009999")
        self.lock_node(self.add_node("a"))
        for state in NodeState:
            if state is not NodeState.READY:
                self.add_node("a", state=state)
        request_id = self.add_request("a")
        self.settle()
        self.assert_waits(request_id)
        node_id = self.add_node("a")
        self.settle()
        self.assert_served(request_id, node_id)

    def test_returned_node(self) -> None:
        """A node that becomes free serves the next one in line."""
        self.add_node("a")
        first, second = self.add_request("a"), self.add_request("a")
        self.settle()
        self.assert_served(first)
        self.assert_waits(second)
        self.use_and_return(first)
        self.assert_served(second)

    def test_released_node(self) -> None:
        """A node whose lock is let go serves who waits for it."""
        node_id = self.add_node("a")
        contender = self.lock_node(node_id)
        request_id = self.add_request("a")
        self.settle()
        self.assert_waits(request_id)
        self.delete(contender)
        self.settle()
        self.assert_served(request_id, node_id)

    def test_many_at_once(self) -> None:
        """A hundred requests for a hundred nodes are served in one pass, each node once."""
        for _ in range(100):
            self.add_node("a", "b")
        self.settle()
        passes = self.pool.statistics.passes
        requests = [self.add_request("ab"[n % 2]) for n in range(100)]
        self.settle()
        given = [self.request(request_id).nodes for request_id in requests]
        self.assertEqual(len(set(given)), 100)
        self.assertEqual(self.pool.statistics.served, 100)
        self.assertEqual(self.pool.statistics.conflicts, 0)
        self.assertLessEqual(self.pool.statistics.passes - passes, 3)
        self.assert_nothing_held()


class WaitingTests(PoolTestCase):
    """Requests that cannot be served whole, and the others."""

    def test_waiting_holds_nothing(self) -> None:
        """Two nodes asked for and one free: the request waits and holds nothing.

        A later request for one node passes it.
        """
        node_id = self.add_node("a")
        large = self.add_request("a", "a")
        self.settle()
        self.assert_waits(large)
        self.assert_free(node_id)
        small = self.add_request("a")
        self.settle()
        self.assert_served(small, node_id)
        self.assert_waits(large)

    def test_served_when_complete(self) -> None:
        """It is served as soon as all its nodes are free at once."""
        one = self.add_node("a")
        large = self.add_request("a", "a")
        self.settle()
        two = self.add_node("a")
        self.settle()
        self.assert_served(large, one, two)

    def test_other_labels_are_not_concerned(self) -> None:
        """A request that waits, however large, holds up nobody with other labels."""
        self.add_request(*"a" * 50)
        node_id = self.add_node("b")
        self.settle()
        request_id = self.add_request("b")
        self.settle()
        self.assert_served(request_id, node_id)

    def test_partly_possible_harms_nobody(self) -> None:
        """A request whose second label is short does not keep a node of the first."""
        node_id = self.add_node("a")
        large = self.add_request("a", "b")
        self.settle()
        self.assert_free(node_id)
        small = self.add_request("a")
        self.settle()
        self.assert_served(small, node_id)
        self.assert_waits(large)


class PatienceTests(PoolTestCase):
    """A larger request among many small ones."""

    def setUp(self) -> None:
        super().setUp()
        self.one, self.two = self.add_node("a"), self.add_node("a")
        self.busy = self.add_request("a")
        self.settle()
        self.large = self.add_request("a", "a")
        self.settle()

    def test_passed_for_a_while(self) -> None:
        """Until its patience ends, smaller requests pass."""
        self.clock.advance(PATIENCE)
        small = self.add_request("a")
        self.settle()
        self.assert_served(small)
        self.assert_waits(self.large)

    def test_not_for_ever(self) -> None:
        """After that, free nodes are kept for it, and it is served when the last returns."""
        self.clock.advance(PATIENCE + 1)
        small = self.add_request("a")
        self.settle()
        self.assert_waits(small, self.large)
        self.use_and_return(self.busy)
        self.assert_served(self.large)
        self.assert_waits(small)

    def test_a_stream_of_small_requests(self) -> None:
        """Small requests that keep coming do not starve it."""
        running = [self.busy]
        for _ in range(100):
            self.clock.advance(10.0)
            running.append(self.add_request("a"))
            self.settle()
            fulfilled = [r for r in running if self.state(r) == "fulfilled"]
            if self.state(self.large) == "fulfilled":
                break
            self.use_and_return(fulfilled[0])
            running.remove(fulfilled[0])
        self.assert_served(self.large)
        self.assertLess(self.clock.seconds() - (self.request(self.large).created_time or 0), 350)

    def wait_long(self) -> str:
        """A small request that waits for a node which is kept for the large one."""
        self.clock.advance(PATIENCE + 1)
        small = self.add_request("a")
        self.settle()
        self.assert_waits(small, self.large)
        return small

    def test_withdrawn(self) -> None:
        """What was kept for it is given to others at once when it is withdrawn."""
        small = self.wait_long()
        self.delete(paths.request(self.large))
        self.settle()
        self.assert_served(small)

    def test_taken_by_another_launcher(self) -> None:
        """So it is when another launcher takes it on."""
        small = self.wait_long()
        self.lock_request(self.large)
        self.settle()
        self.assert_served(small)

    def test_rest_does_not_come_back(self) -> None:
        """When a node it waits for is held or removed, nothing is kept for long any more."""
        small = self.wait_long()
        self.change_node(self.request(self.busy).nodes[0], state=NodeState.HOLD)
        self.settle()
        self.assert_waits(small)
        self.clock.advance(LISTED_FOR)
        self.settle()
        self.assert_served(small)
        self.assert_waits(self.large)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_kept_for_as_long_as_it_takes(self) -> None:
        """As long as it can be complete one day, nodes are kept for it."""
        small = self.wait_long()
        for _ in range(100):
            self.clock.advance(LISTED_FOR)
            self.settle()
        self.assert_waits(small, self.large)
        self.use_and_return(self.busy)
        self.assert_served(self.large)
        self.clock.advance(LISTED_FOR)
        self.settle()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_idle_pool_keeps_nothing(self) -> None:
        """A pool that is idle looks at nothing again."""
        self.wait_long()
        self.successResultOf(self.pool.idle())
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_other_nodes_stay_free_for_all(self) -> None:
        """Only what it could use is kept for it."""
        self.clock.advance(PATIENCE + 1)
        node_id = self.add_node("b")
        other = self.add_request("b")
        self.settle()
        self.assert_served(other, node_id)

    def test_versatile_node_asked_for_by_its_other_label(self) -> None:
        """A node that is kept for it is not given away by another of its labels."""
        self.delete(paths.request(self.large))
        node_id = self.add_node("b", "c")
        large = self.add_request("b", "b")
        self.add_node("b", state=NodeState.IN_USE)
        self.settle()
        self.clock.advance(PATIENCE + 1)
        small = self.add_request("c")
        self.settle()
        self.assert_waits(large, small)
        self.assert_free(node_id)
        last = self.add_node("c")
        self.settle()
        self.assert_served(small, last)

    def test_impossible_requests_keep_nothing(self) -> None:
        """A request for more than the pool has does not keep nodes from others."""
        self.delete(paths.request(self.large))
        self.add_request(*"aaa")
        self.settle()
        self.clock.advance(PATIENCE + 1)
        small = self.add_request("a")
        self.settle()
        self.assert_served(small)

    def test_possible_later(self) -> None:
        """Nodes are kept for it once the pool has enough of them."""
        self.delete(paths.request(self.large))
        large = self.add_request(*"aaa")
        self.settle()
        self.clock.advance(PATIENCE + 1)
        self.add_request("a")
        self.settle()
        self.add_node("a", state=NodeState.IN_USE)
        node_id = self.add_node("a", state=NodeState.IN_USE)
        self.settle()
        self.clock.advance(LISTED_FOR)
        self.change_node(node_id, state=NodeState.READY)
        small = self.add_request("a")
        self.settle()
        self.assert_waits(large, small)
        self.assert_free(node_id)

    def test_held_nodes_are_not_waited_for(self) -> None:
        """A node that a person holds may be away for weeks: nothing is kept for its return."""
        used = self.request(self.busy).nodes[0]
        self.lock_node(used)
        self.delete(paths.request(self.busy))
        self.change_node(used, state=NodeState.HOLD, allocated_to=None)
        self.settle()
        self.clock.advance(PATIENCE + 1)
        small = self.add_request("a")
        self.settle()
        self.assert_served(small)
        self.assert_waits(self.large)

    def test_oldest_first_among_the_patient(self) -> None:
        """Of two that have waited long, the first in line gets the nodes."""
        second = self.add_request("a", "a")
        self.settle()
        self.clock.advance(PATIENCE + 1)
        self.use_and_return(self.busy)
        self.assert_served(self.large)
        self.assert_waits(second)
        self.use_and_return(self.large)
        self.assert_served(second)


class PriorityTests(PoolTestCase):
    """Which of several requests is served when a node comes."""

    def served_order(self, *requests: str) -> list[str]:
        """The requests in the order in which one node serves them."""
        node_id = self.add_node("a")
        order = []
        for _ in requests:
            self.settle()
            (served,) = [
                r
                for r in requests
                if self.inspector.stat(paths.request(r)) and self.state(r) == "fulfilled"
            ]
            order.append(served)
            self.delete(paths.request(served))
            self.settle()
            self.change_node(node_id, allocated_to=None)
        return order

    def test_order(self) -> None:
        """Precedence, then relative priority, then age; labels and tenants do not matter."""
        late = self.add_request("a", precedence=300)
        second = self.add_request("a", relative_priority=7)
        first = self.add_request("a", relative_priority=1, tenant_name="t")
        third = self.add_request("a", relative_priority=7, provider="gone")
        urgent = self.add_request("a", precedence=50, relative_priority=100)
        self.settle()
        expected = [urgent, first, second, third, late]
        self.assertEqual(self.served_order(*expected), expected)

    def test_zuul_changes_a_priority(self) -> None:
        """A relative priority changed under the request's lock changes its place."""
        first, second = self.add_request("a"), self.add_request("a")
        self.settle()
        contender = self.lock_request(first)
        self.settle()
        self.change_request(first, relative_priority=5)
        self.settle()
        self.delete(contender)
        self.settle()
        self.assertEqual(self.served_order(first, second), [second, first])

    def test_locked_request(self) -> None:
        """A request somebody holds holds up nobody, and is served when it is let go."""
        first, second = self.add_request("a"), self.add_request("a")
        contender = self.lock_request(first)
        node_id = self.add_node("a")
        self.settle()
        self.assert_waits(first)
        self.assert_served(second, node_id)
        node_id = self.add_node("a")
        self.settle()
        self.assert_waits(first)
        self.delete(contender)
        self.settle()
        self.assert_served(first, node_id)

    def test_locked_after_it_was_chosen(self) -> None:
        """A request locked while its node is checked is not touched; the node serves others."""
        self.source.hold()
        node_id = self.add_node("a")
        first = self.add_request("a")
        self.settle()
        contender = self.lock_request(first)
        second = self.add_request("a")
        self.settle()
        before = self.request(first)
        self.source.let_go()
        self.settle()
        self.assertEqual(self.request(first), before)
        self.assert_served(second, node_id)
        third = self.add_node("a")
        self.delete(contender)
        self.settle()
        self.assert_served(first, third)

    def test_not_ours(self) -> None:
        """A pending request is another launcher's; a finished one is nobody's."""
        node_id = self.add_node("a")
        for state in (RequestState.PENDING, RequestState.FULFILLED, RequestState.FAILED):
            self.add_request("a", state=state)
        self.settle()
        self.assert_free(node_id)
        self.assertEqual(self.pool.waiting, 0)


class NewNodesTests(PoolTestCase):
    """A static pool makes no nodes."""

    def test_min_ready(self) -> None:
        """A request to keep nodes in stock is declined, though a node is free."""
        node_id = self.add_node("a")
        request_id = self.add_request("a", requestor=MIN_READY_REQUESTOR)
        self.settle()
        self.assertEqual(self.state(request_id), "failed")
        self.assert_free(node_id)

    def test_no_reuse(self) -> None:
        """So is one that wants its nodes new."""
        self.add_node("a")
        request_id = self.add_request("a", reuse=False)
        self.settle()
        self.assertEqual(self.request(request_id).declined_by, (self.pool_id,))
