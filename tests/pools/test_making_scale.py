"""What a pass looks at when thousands of requests wait for room, in counts and not in time."""

from __future__ import annotations

from typing import Any

from nodepool_tx.store import paths
from tests.pools.maker import MakingTestCase

#: Requests that wait with one wish, and those that have one of their own.
ALIKE = 9000
DIFFERENT = 1000


class TenThousandAtQuota(MakingTestCase):
    labels = frozenset("abcd")

    def setUp(self) -> None:
        super().setUp()
        self.maker.limits = {"instances": 3, "cores": 100}
        self.limits.limits = {"full": {"instances": 0.5}}
        self.running = [self.launched("c") for _ in range(3)]
        self.alike = [self.add_request("a") for _ in range(ALIKE)]
        self.different = [self.add_request("b", tenant_name=f"t{n}") for n in range(DIFFERENT)]
        self.settle()
        self.assertEqual(self.pool.waiting, ALIKE + DIFFERENT)
        self.asked = 0
        judge = self.launcher.reservations.shortages

        def counting(*args: Any) -> Any:
            self.asked += 1
            return judge(*args)

        self.patch(self.launcher.reservations, "shortages", counting)

    def cost(self) -> tuple[int, int]:
        """Groups looked at and limits judged since the last time."""
        self.settle()
        groups, self.groups = self.pool.statistics.groups_seen - self.groups, 0
        self.groups = self.pool.statistics.groups_seen
        asked, self.asked = self.asked, 0
        return groups, asked

    groups = 0

    def test_cost_of_events(self) -> None:
        """Each event costs what it may have unblocked, not what waits."""
        self.cost()

        # A request with the wish of thousands, and one with another.
        self.add_request("a")
        self.assertEqual(self.cost(), (1, 1))
        self.add_request("d")
        self.assertEqual(self.cost(), (1, 1))

        # A node that nobody here counts.
        node_id = self.add_node("x", provider="other", pool="main")
        self.assertEqual(self.cost(), (0, 0))
        self.delete(paths.node(node_id))
        self.assertEqual(self.cost(), (0, 0))

        # One that serves a waiting request from stock: it is not in anybody's way.
        self.add_request("b", tenant_name="another")
        self.cost()
        in_stock = self.add_node("d", resources={"gpu": 1})
        groups, asked = self.cost()
        self.assertLessEqual((groups, asked), (1, 2))
        self.assertEqual(self.node(in_stock).state.value, "ready")

        # Room for one: all wishes are in line for it, each of them once.
        self.give_back(self.running[0])
        groups, asked = self.cost()
        self.assertEqual(self.state(self.alike[0]), "pending")
        self.assertLessEqual(groups, DIFFERENT + 5)
        self.assertLessEqual(asked, 8)

    def test_a_label_beside(self) -> None:
        """What is served from stock costs nothing for those that wait for room."""
        self.add_node("d", resources={"gpu": 1})
        self.cost()
        request_id = self.add_request("d")
        self.assertLessEqual(self.cost(), (1, 1))
        self.assert_served(request_id)


class LongPassTests(MakingTestCase):
    """A pass that takes long, by the clock."""

    def test_goes_on_in_another_turn(self) -> None:
        """The reactor gets its turn in between, and the order stays."""
        order: list[str] = []
        decide = self.pool._deciding.decide

        def slowly(request: Any, held_back: Any) -> Any:
            order.append(request.id)
            self.clock.rightNow += 0.005
            return decide(request, held_back)

        self.patch(self.pool._deciding, "decide", slowly)
        passes = self.pool.statistics.passes
        requests = [self.add_request("a", tenant_name=f"t{n}") for n in range(20)]
        self.settle()
        self.assertEqual(order, requests)
        self.assertGreaterEqual(self.pool.statistics.passes - passes, 4)
        self.assertLess(self.pool.statistics.longest_duration, 0.03)
