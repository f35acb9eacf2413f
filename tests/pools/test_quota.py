"""Provider quota, pool limits and tenant limits, as one arithmetic."""

from __future__ import annotations

from nodepool_tx.model import MIN_READY_REQUESTOR, NodeState
from nodepool_tx.pools.interface import Objection
from nodepool_tx.pools.patience import PATIENCE
from nodepool_tx.pools.standing import SETTLING
from nodepool_tx.store.usage import Account
from tests.pools.maker import ONE, MakingTestCase, ScriptedMaker


class LimitTests(MakingTestCase):
    def pending(self, *request_ids: str) -> list[str]:
        return [request_id for request_id in request_ids if self.state(request_id) == "pending"]

    def test_burst(self) -> None:
        """Requests that come all at once do not pass the check together."""
        requests = [self.add_request("a") for _ in range(15)]
        self.settle()
        self.assertEqual(self.pending(*requests), requests[:10])
        self.assertEqual(len(self.maker.asked), 10)
        self.assertEqual(
            self.pool.why(requests[10]),
            "waits for 4 cores of provider rack's limit of 40: 40 used, 4 needed; "
            "waits for 1 instances of provider rack's limit of 10: 10 used, 1 needed",
        )

    def test_burst_over_two_pools(self) -> None:
        """Nor do those of two pools of one provider."""
        second = ScriptedMaker(self.store)
        self.make_making_pool(name="second", maker=second, labels=frozenset("d"))
        requests = [self.add_request(label) for label in "adadadadadadadadadad"]
        self.settle()
        self.assertEqual(len(self.pending(*requests)), 10)
        self.assertEqual(len(self.maker.asked) + len(second.asked), 10)

    def test_pool_limits(self) -> None:
        """What a pool may use together is less than what its provider may."""
        self.replace_pool(max_servers=3, limits={"cores": 8})
        requests = [self.add_request("a") for _ in range(4)]
        self.settle()
        self.assertEqual(self.pending(*requests), requests[:2])
        self.assertEqual(
            self.pool.why(requests[2]),
            "waits for 4 cores of pool rack/main's limit of 8: 8 used, 4 needed",
        )

    def test_max_servers(self) -> None:
        """max-servers is the limit of instances, of whatever size."""
        self.maker.label_needs["a"] = {"instances": 1}
        self.replace_pool(max_servers=3)
        requests = [self.add_request("a") for _ in range(4)]
        self.settle()
        self.assertEqual(self.pending(*requests), requests[:3])

    def test_ignore_provider_quota(self) -> None:
        """A pool that ignores the quota of its provider is not asked about it."""
        self.maker.limits = None
        self.replace_pool(ignore_provider_quota=True)
        requests = [self.add_request("a") for _ in range(30)]
        self.settle()
        self.assertEqual(self.pending(*requests), requests)

    def test_tenant_limits(self) -> None:
        """Cores of a tenant are counted over all of its nodes, wherever they are."""
        self.limits.limits = {"t": {"cores": 20}}
        self.add_node("x", provider="other", tenant_name="t", resources={"cores": 10})
        requests = [self.add_request("a", tenant_name="t") for _ in range(4)]
        other = self.add_request("a", tenant_name="u")
        self.settle()
        self.assertEqual(self.pending(*requests, other), [*requests[:2], other])
        self.assertEqual(
            self.pool.why(requests[2]),
            "waits for 4 cores of tenant t's limit of 20: 18 used, 4 needed",
        )

    def test_stock_counts_for_the_tenant(self) -> None:
        """A node in stock counts for the tenant it is given to, and for nobody else again."""
        self.limits.limits = {"t": {"instances": 1}}
        for _ in range(2):
            self.add_node("a", resources=ONE)
        requests = [self.add_request("a", tenant_name="t") for _ in range(2)]
        self.settle()
        self.assert_served(requests[0])
        self.assert_waits(requests[1])
        self.assertEqual(self.used(Account.of_provider("rack"))["instances"], 2)

    def test_all_or_nothing(self) -> None:
        """A request that waits holds nothing: smaller ones go on."""
        self.maker.limits = {"instances": 3}
        self.launched("a")
        large = self.add_request("a", "a", "a")
        self.settle()
        self.assert_waits(large)
        small = self.add_request("b", "b")
        self.settle()
        self.assertEqual(self.state(small), "pending")

    def test_room_again(self) -> None:
        """Who waits is taken when there is room, in order of the queue."""
        self.maker.limits = {"instances": 2}
        running = [self.launched("a") for _ in range(2)]
        waiting = [self.add_request(label) for label in "bcb"]
        self.settle()
        self.assert_waits(*waiting)
        self.give_back(running[0])
        self.assertEqual(self.pending(*waiting), waiting[:1])
        self.give_back(running[1])
        self.assertEqual(self.pending(*waiting), waiting[:2])

    def test_room_by_a_failure(self) -> None:
        """A node counts until its record is gone, whatever state it is in."""
        self.maker.limits = {"instances": 1}
        first = self.add_request("a")
        self.settle()
        second = self.add_request("b")
        self.settle()
        (node_id,) = self.maker.asked
        self.ready(node_id, state=NodeState.FAILED)
        self.assertEqual(self.state(first), "failed")
        self.assert_waits(second)
        self.remove(node_id)
        self.assertEqual(self.state(second), "pending")

    def test_greater_quota(self) -> None:
        """So are they when the provider says that more is allowed."""
        self.maker.limits = {"instances": 1}
        requests = [self.add_request("a") for _ in range(3)]
        self.settle()
        self.maker.limits = {"instances": 2}
        self.maker.tell()
        self.settle()
        self.assertEqual(self.pending(*requests), requests[:2])

    def test_what_can_never_be(self) -> None:
        """A request that exceeds a limit by itself is declined, and not kept waiting."""
        self.limits.limits = {"t": {"cores": 4}}
        requests = [
            self.add_request(*["a"] * 11),
            self.add_request("a", "a", tenant_name="t"),
        ]
        self.settle()
        self.assertEqual([self.state(r) for r in requests], ["failed", "failed"])
        self.replace_pool(limits={"ram": 8191})
        request_id = self.add_request("a")
        self.settle()
        self.assertEqual(self.state(request_id), "failed")

    def test_min_ready_at_quota(self) -> None:
        """A request for the stock is declined when there is no room."""
        self.maker.limits = {"instances": 1}
        request_id = self.add_request("a", requestor=MIN_READY_REQUESTOR, reuse=False)
        self.settle()
        self.assertEqual(self.state(request_id), "pending")
        second = self.add_request("a", requestor=MIN_READY_REQUESTOR, reuse=False)
        self.settle()
        self.assertEqual(self.state(second), "failed")

    def test_not_known_yet(self) -> None:
        """What is not known yet is waited for."""
        self.maker.limits = None
        request_id = self.add_request("a")
        self.settle()
        self.assert_waits(request_id)
        self.assertEqual(self.pool.why(request_id), "the provider's quota is not known yet")
        self.maker.limits = {"instances": 1}
        self.maker.label_needs["a"] = None
        self.maker.tell()
        self.settle()
        self.assertEqual(self.pool.why(request_id), "what a node a will use is not known yet")
        self.maker.label_needs.clear()
        self.maker.tell()
        self.settle()
        self.assertEqual(self.state(request_id), "pending")

    def test_created_nodes_count_before_they_show(self) -> None:
        """A node counts from the decision to its removal, at every step of its creation."""
        self.maker.limits = {"instances": 1}
        account = Account.of_provider("rack")
        counts: list[float] = []
        self.inspector.before(
            "*", lambda _: counts.append(self.used(account).get("instances", 0)), times=None
        )
        request_id = self.add_request("a")
        self.settle()
        self.ready(*self.maker.asked)
        self.give_back(request_id)
        self.assertEqual(sorted(set(counts)), [0, 1])
        self.assertEqual(counts, sorted(counts[:-1]) + counts[-1:])

    def test_created_node_that_is_gone_at_once(self) -> None:
        """One that is removed as soon as it is there is given up, with its room."""
        self.maker.limits = {"instances": 1}

        def remove_at_once(_: object) -> None:
            for node in self.nodes().values():
                self.inspector.delete_tree(f"/nodepool/nodes/{node.id}")

        self.inspector.after("transaction", remove_at_once, client=self.client)
        request_id = self.add_request("a")
        self.settle()
        self.assertEqual(self.state(request_id), "failed")
        self.assertEqual(dict(self.used(Account.of_provider("rack"))), {})


class ObjectionTests(MakingTestCase):
    def test_lasting(self) -> None:
        """A label that can never be made here declines its requests."""
        self.maker.objections["a"] = Objection("no image has label a", lasting=True)
        request_id = self.add_request("a")
        self.settle()
        self.assertEqual(self.state(request_id), "failed")

    def test_stock_needs_no_maker(self) -> None:
        """What is in stock can be had all the same."""
        self.maker.objections["a"] = Objection("no image has label a", lasting=True)
        node_id = self.add_node("a")
        request_id = self.add_request("a")
        self.settle()
        self.assert_served(request_id, node_id)

    def test_passing(self) -> None:
        """Where nobody else can serve it, a request waits until the maker can again."""
        self.maker.objections["a"] = Objection("the breaker of label a is open", lasting=False)
        request_id = self.add_request("a")
        other = self.add_request("b")
        self.settle()
        self.assert_waits(request_id)
        self.assertEqual(self.pool.why(request_id), "the breaker of label a is open")
        self.assertEqual(self.state(other), "pending")
        self.maker.objections.clear()
        self.maker.tell()
        self.settle()
        self.assertEqual(self.state(request_id), "pending")

    def test_others_need_not_wait_for_us(self) -> None:
        """A pool that is asked first and cannot is shown as paused, until nothing waits."""
        self.add_pool("a", priority=200)
        self.maker.objections["a"] = Objection("the breaker of label a is open", lasting=False)
        self.clock.advance(SETTLING)
        self.add_request("a")
        self.settle()
        self.assertTrue(self.is_paused())
        self.maker.objections.clear()
        self.maker.tell()
        self.settle()
        self.clock.advance(11)
        self.settle()
        self.assertFalse(self.is_paused())

    def test_not_in_the_first_moments(self) -> None:
        """What is not known yet right after the start gives nothing away to others."""
        self.add_pool("a", priority=200)
        self.maker.objections["a"] = Objection("what label a needs is not known yet", lasting=False)
        self.add_request("a")
        self.clock.advance(SETTLING - 1)
        self.settle()
        self.assertFalse(self.is_paused())
        self.clock.advance(1)
        self.settle()
        self.assertTrue(self.is_paused())

    def is_paused(self) -> bool:
        (ours,) = [c for c in self.components().values() if c.id == self.pool_id]
        return bool(ours.paused)

    def test_nobody_waits_for_us(self) -> None:
        """Nothing is written where nobody waits for it."""
        self.add_pool("a", priority=100)
        self.maker.objections["a"] = Objection("the breaker of label a is open", lasting=False)
        self.add_request("a")
        self.settle()
        self.assertFalse(self.is_paused())

    def test_probe_that_fails(self) -> None:
        """A probe that fails declines its request."""
        request_id = self.add_request("a")
        self.settle()
        self.ready(*self.maker.asked, state=NodeState.FAILED)
        self.assertEqual(self.state(request_id), "failed")


class StarvationTests(MakingTestCase):
    """One request for many nodes, and a stream of small ones."""

    def setUp(self) -> None:
        super().setUp()
        self.maker.limits = {"instances": 4}
        self.running = [self.launched("a") for _ in range(4)]
        self.large = self.add_request("b", "b", "b")
        self.settle()

    def turn_over(self) -> None:
        """One of the small ones ends, and another one comes."""
        self.give_back(self.running.pop(0))
        request_id = self.add_request("a")
        self.settle()
        if self.state(request_id) == "pending":
            self.ready(*self.nodes_for(request_id))
            self.running.append(request_id)

    def test_small_ones_pass(self) -> None:
        """Before its patience ends the small ones go on."""
        for _ in range(5):
            self.turn_over()
        self.assertEqual(len(self.running), 4)
        self.assert_waits(self.large)

    def test_patience_ends(self) -> None:
        """Then what comes free is kept for it."""
        self.clock.advance(PATIENCE + 1)
        for _ in range(3):
            self.assert_waits(self.large)
            self.turn_over()
        self.assertEqual(self.state(self.large), "pending")
        self.assertEqual(len(self.running), 1)
        # And those that had to wait have it again.
        self.ready(*self.nodes_for(self.large))
        self.give_back(self.large)
        self.assertEqual(len([r for r in self.waiting_small() if self.state(r) == "pending"]), 3)

    def waiting_small(self) -> list[str]:
        return [r.id for r in self.store.requests if r.node_types == ("a",)]

    def test_reason(self) -> None:
        """Who waits for that is told so."""
        self.clock.advance(PATIENCE + 1)
        self.give_back(self.running.pop())
        small = self.add_request("a")
        self.settle()
        self.assertEqual(
            self.pool.why(small),
            "waits for 1 instances of provider rack's limit of 4: "
            "3 used, 3 kept for an older request, 1 needed",
        )

    def test_only_where_it_is_short(self) -> None:
        """What it is not short of, or another provider has, is not kept."""
        self.limits.limits = {"t": {"instances": 1}}
        elsewhere = ScriptedMaker(self.store, "other")
        self.make_making_pool(
            provider="other", maker=elsewhere, labels=frozenset("d"), name="other"
        )
        self.clock.advance(PATIENCE + 1)
        self.give_back(self.running.pop())
        request_id = self.add_request("d", tenant_name="t")
        self.settle()
        self.assertEqual(self.state(request_id), "pending")

    def test_stock_is_not_kept(self) -> None:
        """Small ones that need no room go on."""
        self.clock.advance(PATIENCE + 1)
        self.give_back(self.running.pop())
        node_id = self.add_node("c", provider="rack")
        self.settle()
        request_id = self.add_request("c")
        self.settle()
        self.assert_served(request_id, node_id)

    def test_equal_one_goes_before_it(self) -> None:
        """What is kept for it is not kept from an equal request that goes before it."""
        self.clock.advance(PATIENCE + 1)
        self.give_back(self.running.pop())
        self.assert_waits(self.large)
        labels = self.request(self.large).node_types
        urgent = self.add_request(*labels, precedence=50)
        self.settle()
        while self.running:
            self.give_back(self.running.pop())
        self.assertEqual(self.state(urgent), "pending")

    def test_withdrawn(self) -> None:
        """When it is withdrawn nothing is kept any more."""
        self.clock.advance(PATIENCE + 1)
        self.give_back(self.running.pop())
        small = self.add_request("a")
        self.settle()
        self.assert_waits(small)
        self.delete(f"/nodepool/requests/{self.large}")
        self.settle()
        self.assertEqual(self.state(small), "pending")

    def test_held_nodes(self) -> None:
        """Nothing is kept for one that waits for nodes somebody holds."""
        for request_id in self.running[:2]:
            self.change_node(self.request(request_id).nodes[0], state=NodeState.HOLD)
        self.settle()
        self.clock.advance(PATIENCE + 1)
        self.give_back(self.running.pop())
        small = self.add_request("a")
        self.settle()
        self.assertEqual(self.state(small), "pending")

    def test_the_oldest_first(self) -> None:
        """Of two that lost their patience the older one has its turn first."""
        self.clock.advance(10)
        second = self.add_request("c", "c", precedence=50)
        self.settle()
        self.clock.advance(PATIENCE + 1)
        for _ in range(3):
            self.turn_over()
        self.assertEqual((self.state(self.large), self.state(second)), ("pending", "requested"))
        self.ready(*self.nodes_for(self.large))
        self.give_back(self.large)
        self.assertEqual(self.state(second), "pending")


class EvictionTests(MakingTestCase):
    """Stock that stands in the way."""

    def setUp(self) -> None:
        super().setUp()
        self.maker.limits = {"instances": 3}
        self.stock = [self.add_node("a", resources=ONE, state_time=n) for n in range(3)]
        self.settle()

    def test_makes_room(self) -> None:
        """The one longest in stock goes, and nobody gets it meanwhile."""
        request_id = self.add_request("b")
        self.settle()
        self.assertEqual(self.maker.removed, self.stock[:1])
        self.assert_waits(request_id)
        other = self.add_request("a", "a", "a")
        self.settle()
        self.assertEqual(self.state(other), "requested")
        self.delete(f"/nodepool/nodes/{self.stock[0]}")
        self.settle()
        self.assertEqual(self.state(request_id), "pending")
        self.assertEqual(self.maker.removed, self.stock[:1])

    def test_not_what_somebody_wants(self) -> None:
        """Nodes that a waiting request could use stay, whatever it waits for."""
        self.limits.limits = {"t": {"instances": 1}}
        self.add_node("x", provider="other", tenant_name="t")
        self.change_node(self.stock[1], type=("a", "c"))
        self.settle()
        waits = self.add_request("c", tenant_name="t")
        self.settle()
        self.add_request("b", "b", "b")
        self.settle()
        self.assert_waits(waits)
        self.assertEqual(self.maker.removed, [])
        self.add_request("b", "b")
        self.settle()
        self.assertEqual(self.maker.removed, [self.stock[0], self.stock[2]])

    def test_what_leaves_already(self) -> None:
        """Nothing goes where enough is on its way out."""
        self.change_node(self.stock[0], state=NodeState.USED)
        request_id = self.add_request("b")
        self.settle()
        self.assertEqual(self.maker.removed, [])
        self.add_request("b", "b")
        self.settle()
        self.assertEqual(self.maker.removed, self.stock[1:2])
        self.assert_waits(request_id)

    def test_not_enough(self) -> None:
        """Nothing goes where it would not be enough."""
        self.limits.limits = {"t": {"instances": 1}}
        self.add_node("x", provider="other", tenant_name="t")
        self.settle()
        request_id = self.add_request("b", tenant_name="t")
        self.settle()
        self.assert_waits(request_id)
        self.assertEqual(self.maker.removed, [])

    def test_not_for_the_stock(self) -> None:
        """Nothing goes so that something else is in stock."""
        self.add_request("b", requestor=MIN_READY_REQUESTOR, reuse=False)
        self.settle()
        self.assertEqual(self.maker.removed, [])

    def test_more_than_it_can_use(self) -> None:
        """What a request cannot use itself goes for it when it has lost its patience."""
        request_id = self.add_request("a", "b", "b")
        self.settle()
        self.assertEqual(self.maker.removed, [])
        self.clock.advance(PATIENCE + 1)
        self.settle()
        self.assertEqual(self.maker.removed, self.stock[1:])
        for node_id in self.maker.removed:
            self.delete(f"/nodepool/nodes/{node_id}")
        self.settle()
        self.assertEqual(self.state(request_id), "pending")
        self.assertEqual(self.node(self.stock[0]).allocated_to, request_id)

    def test_it_does_not_go(self) -> None:
        """One that does not go is in stock again after a while."""
        self.add_request("b")
        self.settle()
        self.assertTrue(self.store.nodes.is_reserved(self.stock[0]))
        self.maker.limits = {"instances": 4}
        self.maker.tell()
        self.settle()
        self.clock.advance(61)
        self.settle()
        self.assert_free(*self.stock)

    def use(self, node_id: str) -> str:
        """Somebody has the node; returns its lock."""
        contender = self.lock_node(node_id)
        self.settle()
        return contender

    def test_comes_into_stock(self) -> None:
        """What comes into stock while a request for something else waits makes room for it."""
        locks = [self.use(node_id) for node_id in self.stock]
        request_id = self.add_request("b")
        self.settle()
        self.assertEqual(self.maker.removed, [])
        self.delete(locks[1])
        self.settle()
        self.assertEqual(self.maker.removed, self.stock[1:2])
        self.assert_waits(request_id)

    def test_comes_into_stock_when_patience_is_lost(self) -> None:
        """So does what others want who cannot use it, when the oldest waits for that alone."""
        locks = [self.use(node_id) for node_id in self.stock]
        oldest = self.add_request("b")
        self.clock.advance(1)
        others = self.add_request("a", "c")
        self.settle()
        self.clock.advance(PATIENCE + 2)
        self.settle()
        self.assertEqual(self.maker.removed, [])
        self.delete(locks[1])
        self.settle()
        self.assertEqual(self.maker.removed, self.stock[1:2])
        self.delete(f"/nodepool/nodes/{self.stock[1]}")
        self.settle()
        self.assertEqual((self.state(oldest), self.state(others)), ("pending", "requested"))
