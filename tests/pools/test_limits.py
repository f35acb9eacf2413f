"""Limits: of tenants, of requests at a time, of servers."""

from __future__ import annotations

import math
from typing import Any

from kazoo.exceptions import ConnectionLoss

from nodepool_tx.pools.admission import Admission
from nodepool_tx.store import paths
from tests.pools.harness import PoolTestCase


class TenantTests(PoolTestCase):
    """Tenant t may have two instances, tenant u any number."""

    def setUp(self) -> None:
        super().setUp()
        self.limits.limits = {
            "t": {"instances": 2, "cores": math.inf, "ram": math.inf},
            "u": {"instances": math.inf},
        }
        for _ in range(20):
            self.add_node("a", "b")
        self.settle()

    def requests(self, count: int, *labels: str, **fields: Any) -> list[str]:
        return [self.add_request(*labels or ("a",), **fields) for _ in range(count)]

    def served(self, requests: list[str]) -> list[str]:
        return [
            request_id
            for request_id in requests
            if self.inspector.stat(paths.request(request_id))
            and self.state(request_id) == "fulfilled"
        ]

    def test_burst_from_one_tenant(self) -> None:
        """Defect 18: requests that come all at once do not pass the check together."""
        requests = self.requests(10, tenant_name="t")
        self.settle()
        self.assertEqual(self.served(requests), requests[:2])
        self.assert_waits(*requests[2:])
        self.assertEqual(
            self.pool.why(requests[2]),
            "waits for 1 instances of tenant t's limit of 2: 2 used, 1 needed",
        )

    def test_burst_over_several_pools(self) -> None:
        """Nor do those that different pools of one launcher are about to serve."""
        second = self.make_pool(name="second", provider="other", source=(source := self.source))
        source.hold()
        for _ in range(5):
            self.add_node("c", provider="other", pool="second")
        self.settle()
        requests = self.requests(5, tenant_name="t") + self.requests(5, "c", tenant_name="t")
        self.settle()
        self.assertEqual(len(source.held), 2)
        source.let_go()
        self.settle()
        self.assertEqual(len(self.served(requests)), 2)
        self.assertEqual(second.statistics.served + self.pool.statistics.served, 2)

    def test_others_are_not_concerned(self) -> None:
        """Requests of other tenants, or of none, behind those that wait are served."""
        waiting = self.requests(5, tenant_name="t")
        others = self.requests(3, tenant_name="u") + self.requests(3)
        self.settle()
        self.assertEqual(self.served(others), others)
        self.assertEqual(len(self.served(waiting)), 2)

    def test_room_again(self) -> None:
        """A node that is returned makes room for the tenant's next request."""
        requests = self.requests(4, tenant_name="t")
        self.settle()
        self.use_and_return(requests[0])
        self.assertEqual(self.served(requests), requests[1:3])
        self.use_and_return(requests[1])
        self.assertEqual(self.served(requests), requests[2:4])

    def test_room_again_by_a_deleted_node(self) -> None:
        """So does one that is removed, of another provider too."""
        elsewhere = [
            self.add_node("x", provider="cloud", tenant_name="t", resources={"instances": 1})
            for _ in range(2)
        ]
        requests = self.requests(2, tenant_name="t")
        self.settle()
        self.assertEqual(self.served(requests), [])
        self.delete(paths.node(elsewhere[0]))
        self.settle()
        self.assertEqual(self.served(requests), requests[:1])

    def test_request_for_several(self) -> None:
        """A request counts with all its nodes."""
        one = self.requests(1, tenant_name="t")[0]
        two = self.requests(1, "a", "b", tenant_name="t")[0]
        self.settle()
        self.assertEqual(self.served([one, two]), [one])
        self.use_and_return(one)
        self.assertEqual(self.served([two]), [two])

    def test_smaller_ones_of_the_tenant_pass(self) -> None:
        """A request that has no room does not hold up a smaller one of its tenant."""
        one = self.requests(1, tenant_name="t")[0]
        self.settle()
        two = self.requests(1, "a", "b", tenant_name="t")[0]
        small = self.requests(1, tenant_name="t")[0]
        self.settle()
        self.assertEqual(self.served([one, two, small]), [one, small])

    def test_more_than_the_limit_allows(self) -> None:
        """A request that exceeds its tenant's limit by itself is declined, not kept waiting."""
        request_id = self.requests(1, "a", "a", "a", tenant_name="t")[0]
        self.settle()
        self.assertEqual(self.state(request_id), "failed")

    def test_failed_check_gives_room_back(self) -> None:
        """What was promised for a node that is dead is there for the tenant's others."""
        self.limits.limits = {"t": {"instances": 1}}
        dead = self.add_node("c")
        self.source.make_unfit(dead)
        self.source.hold()
        first = self.add_request("c", tenant_name="t")
        self.settle()
        second = self.add_request("a", tenant_name="t")
        self.settle()
        self.assert_waits(first, second)
        self.source.let_go()
        self.settle()
        self.assert_waits(first)
        self.assert_served(second)

    def test_lost_commit_does_not_count_twice(self) -> None:
        """A hand-out whose answer was lost counts once, whether it happened or not."""
        for stage in (
            lambda: self.inspector.lose_reply_next("transaction", client=self.client),
            lambda: self.inspector.fail_next("transaction", ConnectionLoss(), client=self.client),
        ):
            stage()
            requests = self.requests(4, tenant_name="t")
            self.settle()
            served = self.served(requests)
            self.assertEqual(len(served), 2)
            for request_id in requests:
                self.delete(paths.request(request_id))
            for node in self.nodes().values():
                self.change_node(node.id, allocated_to=None, tenant_name=None)
            self.settle()

    def test_limits_are_raised(self) -> None:
        """New limits are in force at once, without another event."""
        requests = self.requests(5, tenant_name="t")
        self.settle()
        self.limits.limits = {"t": {"instances": 4}}
        self.settle()
        self.assertEqual(self.served(requests), requests[:4])
        self.limits.limits = {}
        self.settle()
        self.assertEqual(self.served(requests), requests)

    def test_limits_are_lowered(self) -> None:
        """A tenant that has more than it may have keeps it, and gets no more."""
        requests = self.requests(2, tenant_name="t")
        self.settle()
        self.limits.limits = {"t": {"instances": 1}}
        requests += self.requests(1, tenant_name="t")
        self.settle()
        self.use_and_return(requests[0])
        self.assertEqual(self.served(requests), requests[1:2])
        self.use_and_return(requests[1])
        self.assertEqual(self.served(requests), requests[2:])

    def test_full_tenant_keeps_no_nodes_back(self) -> None:
        """A request that waits for its tenant's limit keeps nothing from others, ever."""
        waiting = self.requests(3, tenant_name="t")[2]
        self.settle()
        self.clock.advance(10_000)
        others = self.requests(18)
        self.settle()
        self.assertEqual(self.served(others), others)
        self.assert_waits(waiting)


class ConcurrencyTests(PoolTestCase):
    """max-concurrency."""

    def setUp(self) -> None:
        super().setUp()
        self.admission = Admission(2)
        self.replace_pool(admission=self.admission)
        self.source.hold()
        self.node_ids = [self.add_node("a", "b") for _ in range(6)]
        self.settle()

    def test_counts_what_runs(self) -> None:
        """Defect 10: the requests in flight count, not those that are done."""
        requests = [self.add_request("a") for _ in range(6)]
        self.settle()
        self.assertEqual(len(self.source.held), 2)
        self.assertEqual(self.admission.active, 2)
        self.assertEqual(self.pool.why(requests[2]), "max-concurrency is reached")
        for _ in range(4):
            self.source.answer(next(iter(self.source.held)))
            self.settle()
            self.assertEqual(len(self.source.held), 2)
        self.source.let_go()
        self.settle()
        for request_id in requests:
            self.assert_served(request_id)
        self.assertEqual(self.admission.active, 0)

    def test_requests_not_nodes(self) -> None:
        """A request counts once, however many nodes it gets."""
        self.add_request("a", "a", "a")
        self.add_request("b", "b")
        self.settle()
        self.assertEqual(len(self.source.held), 5)

    def test_best_first_when_a_place_is_free(self) -> None:
        """The place that comes free is the first in line's, whichever group it is in."""
        for _ in range(2):
            self.add_request("a")
        self.settle()
        low, high = self.add_request("a"), self.add_request("b", precedence=50)
        self.settle()
        self.source.answer(next(iter(self.source.held)))
        self.settle()
        self.assertEqual(self.pool.why(high), "being served now")
        self.source.let_go()
        self.settle()
        self.assert_served(high)
        self.assert_served(low)

    def test_shared_by_the_pools_of_a_provider(self) -> None:
        """All pools of a provider count together, and take turns."""
        second = self.make_pool(name="second", source=self.source, admission=self.admission)
        for _ in range(6):
            self.add_node("c", pool="second")
        for _ in range(6):
            self.add_request("a")
        for _ in range(6):
            self.add_request("c")
        self.settle()
        for _ in range(6):
            self.assertEqual(len(self.source.held), 2)
            self.source.answer(next(iter(self.source.held)))
            self.settle()
        self.assertGreater(self.pool.statistics.served, 1)
        self.assertGreater(second.statistics.served, 1)

    def test_place_is_given_back_by_all_outcomes(self) -> None:
        """A request that vanishes, a dead node and a lost connection all free their place."""
        self.source.make_unfit(self.node_ids[0])
        first, second = self.add_request("a"), self.add_request("a")
        self.settle()
        self.delete(paths.request(second))
        self.inspector.fail_next("transaction", ConnectionLoss(), client=self.client)
        self.source.let_go()
        self.settle()
        self.assert_served(first)
        self.assertEqual(self.admission.active, 0)

    def test_declines_do_not_count(self) -> None:
        """A provider that is busy still says no at once."""
        for _ in range(2):
            self.add_request("a")
        self.settle()
        request_id = self.add_request("unknown")
        self.settle()
        self.assertEqual(self.state(request_id), "failed")

    def test_busy_provider_looks_at_little(self) -> None:
        """While all places are taken, one that comes free costs only what it held up."""
        for _ in range(2):
            self.add_request("a")
        for n in range(200):
            self.add_request("c", provider=f"gone{n}")
        self.add_request("a")
        self.settle()
        before = self.pool.statistics.groups_seen
        self.source.answer(next(iter(self.source.held)))
        self.settle()
        self.assertLess(self.pool.statistics.groups_seen - before, 10)

    def test_closed(self) -> None:
        """max-concurrency 0: nothing is accepted, and nothing declined."""
        self.replace_pool(admission=Admission(0))
        requests = [self.add_request("a"), self.add_request("unknown")]
        self.settle()
        self.assert_waits(*requests)
        self.assertEqual(self.pool.why(requests[0]), "the pool accepts no requests")


class MaxServersTests(PoolTestCase):
    def test_disabled(self) -> None:
        """max-servers 0: the pool declines everything, though it has free nodes."""
        self.replace_pool(max_servers=0)
        node_id = self.add_node("a")
        request_id = self.add_request("a")
        self.settle()
        self.assertEqual(self.state(request_id), "failed")
        self.assert_free(node_id)

    def test_a_limit_does_not_hold_nodes_back(self) -> None:
        """Any other limit is no concern of nodes that are there already."""
        self.replace_pool(max_servers=1)
        node_ids = [self.add_node("a"), self.add_node("a")]
        requests = [self.add_request("a"), self.add_request("a")]
        self.settle()
        for request_id, node_id in zip(requests, node_ids, strict=True):
            self.assert_served(request_id, node_id)
