"""What a pass looks at when thousands of requests wait, in counts and not in time."""

from __future__ import annotations

from typing import Any

from nodepool_tx.store import paths
from tests.pools.harness import PoolTestCase

#: Requests that wait for label a, all alike but for their places in line.
ALIKE = 5000
#: Requests that wait for label b, each with a wish of its own.
DIFFERENT = 5000


class TenThousandWaiting(PoolTestCase):
    labels = frozenset("abcd")

    def setUp(self) -> None:
        super().setUp()
        self.alike = [self.add_request("a", "a") for _ in range(ALIKE)]
        self.different = [self.add_request("b", tenant_name=f"t{n}") for n in range(DIFFERENT)]
        self.settle()
        self.assertEqual(self.pool.waiting, ALIKE + DIFFERENT)
        self.asked = 0
        free_nodes = self.store.nodes.free_nodes

        def counting(*args: Any) -> Any:
            self.asked += 1
            return free_nodes(*args)

        self.patch(self.store.nodes, "free_nodes", counting)
        self.start_counting()

    def start_counting(self) -> None:
        self.settle()
        self.asked = 0
        self.groups = self.pool.statistics.groups_seen
        self.inspector.requests.clear()

    def assert_cost(self, *, groups: int, asked: int, **requests: int) -> None:
        """Groups looked at, questions to the table and requests to ZooKeeper at the most."""
        self.assertLessEqual(self.pool.statistics.groups_seen - self.groups, groups)
        self.assertLessEqual(self.asked, asked)
        self.assertEqual(self.inspector.requests, requests)
        self.start_counting()

    def test_cost_of_events(self) -> None:
        """Each event costs what it may have unblocked, not what waits."""
        # A request that can be served, with nothing else of its label.
        node_id = self.add_node("c")
        self.settle()
        self.start_counting()
        request_id = self.add_request("c")
        self.settle()
        self.assert_served(request_id, node_id)
        self.assert_cost(groups=1, asked=1, get=1, transaction=1)

        # One that cannot.
        self.add_request("d")
        self.settle()
        self.assert_cost(groups=1, asked=1, get=1)

        # A node that only a full group could use, and not enough for it.
        one = self.add_node("a")
        self.settle()
        self.assert_cost(groups=1, asked=1, get=1)

        # The node that completes it: one request is served, one more looked at.
        two = self.add_node("a")
        self.settle()
        self.assert_served(self.alike[0], one, two)
        self.assert_cost(groups=1, asked=2, get=1, transaction=1)

        # A returned node that nobody waits for.
        self.add_node("d", "c", pool="other")
        self.settle()
        self.assert_cost(groups=0, asked=0, get=1)

        # A request that is withdrawn.
        self.delete(paths.request(self.alike[1]))
        self.settle()
        self.assert_cost(groups=0, asked=0)

        # One whose priority changes.
        contender = self.lock_request(self.alike[-1])
        self.settle()
        self.change_request(self.alike[-1], relative_priority=-1)
        self.settle()
        self.delete(contender)
        self.settle()
        self.assert_cost(groups=1, asked=1, get=1)

        # A tenant whose node is deleted.
        node_id = self.add_node("x", tenant_name="t7")
        self.settle()
        self.start_counting()
        self.delete(paths.node(node_id))
        self.settle()
        self.assert_cost(groups=1, asked=1)

        # A node that one of thousands of wishes can use: all of them are in line for it.
        node_id = self.add_node("b")
        self.settle()
        self.assert_served(self.different[0], node_id)
        self.assert_cost(groups=DIFFERENT, asked=DIFFERENT + 1, get=1, transaction=1)

        # A request that comes to them costs no more than itself.
        self.add_request("b", tenant_name="another")
        self.settle()
        self.assert_cost(groups=1, asked=1, get=1)

        # A pool comes online: the rules are asked once for each wish.
        self.add_pool("x")
        self.settle()
        self.assert_cost(groups=DIFFERENT + 2, asked=DIFFERENT + 2, get=1)

    def test_a_busy_label_beside(self) -> None:
        """Thirty jobs of another label cost thirty looks, whatever else waits."""
        for _ in range(10):
            self.add_node("c")
        self.settle()
        self.start_counting()
        for _ in range(3):
            requests = [self.add_request("c") for _ in range(10)]
            self.settle()
            for request_id in requests:
                self.assert_served(request_id)
                self.use_and_return(request_id)
        self.assertLessEqual(self.pool.statistics.groups_seen - self.groups, 30)
        self.assertEqual(self.pool.waiting, ALIKE + DIFFERENT)

    def test_all_are_withdrawn(self) -> None:
        """Thousands of withdrawals cost no pass at all."""
        passes = self.pool.statistics.passes
        for request_id in (*self.alike, *self.different):
            self.delete(paths.request(request_id))
        self.settle()
        self.assertEqual(self.pool.waiting, 0)
        self.assertEqual(self.pool.statistics.passes, passes)
        self.assertEqual(self.asked, 0)
