"""A pool whose provider is out of service takes nothing, and nobody waits for it."""

from __future__ import annotations

from typing import Any

from nodepool_tx.model import MIN_READY_REQUESTOR, Maintenance, NodeState
from nodepool_tx.pools.rules import Answer, PoolView, Wish, judge
from tests.out_of_service import host_record, provider_record, put_back, take_out
from tests.pools.harness import PoolTestCase
from tests.pools.maker import MakingTestCase
from tests.pools.test_rules import online, view

WHY = "provider rack is drained"


class RuleTests(PoolTestCase):
    """What the rules say."""

    def setUp(self) -> None:
        super().setUp()
        self.me = online("me", "a", "b", provider="rack")
        self.out = {"rack": WHY}

    def judge(self, wish: Wish, *others: Any, **fields: Any) -> tuple[Answer, str]:
        verdict = judge(wish, view(self.me, **fields), [*others, self.me])
        return verdict.answer, verdict.rule

    def test_it_takes_nothing(self) -> None:
        """Neither what it alone could serve nor what names it."""
        for wish in (Wish(("a",)), Wish(("a",), provider="rack")):
            self.assertEqual(
                self.judge(wish, out_of_service=self.out), (Answer.YIELD, "maintenance")
            )
        self.assertEqual(self.judge(Wish(("a",)), out_of_service={"x": "?"})[0], Answer.SERVE)

    def test_it_declines_what_it_never_has(self) -> None:
        """What nobody could serve fails meanwhile, too; and what is only for the stock."""
        self.assertEqual(self.judge(Wish(("z",)), out_of_service=self.out)[0], Answer.DECLINE)
        stock = Wish(("a",), min_ready=True, reuse=False)
        self.assertEqual(self.judge(stock, out_of_service=self.out), (Answer.DECLINE, "reuse"))
        self.assertEqual(
            self.judge(stock, out_of_service=self.out, launches=True),
            (Answer.DECLINE, "maintenance"),
        )

    def test_others_do_not_wait_for_it(self) -> None:
        """Whatever its priority, whether or not it is named, shown as paused or not."""
        first = online("x", "a", provider="gone", priority=1)
        for wish in (Wish(("a",)), Wish(("a",), provider="gone")):
            self.assertEqual(self.judge(wish, first)[0], Answer.YIELD)
            self.assertEqual(self.judge(wish, first, out_of_service={"gone": "?"})[0], Answer.SERVE)

    def test_others_leave_it_what_only_it_can_serve(self) -> None:
        """They decline nothing that it may serve when it returns."""
        only = online("x", "z", provider="gone")
        self.assertEqual(
            self.judge(Wish(("z",)), only, out_of_service={"gone": "?"}), (Answer.LEAVE, "labels")
        )

    def test_words(self) -> None:
        """They say why, also of a provider that is named."""
        me: PoolView = view(self.me, out_of_service={"rack": WHY, "gone": "provider gone is away"})
        self.assertEqual(judge(Wish(("a",)), me, [self.me]).reason, WHY)


class StaticPoolTests(PoolTestCase):
    """A pool that hands out what there is."""

    def drain(self, **changes: Any) -> Maintenance:
        record = take_out(
            self.inspector, provider_record(**{"since": self.clock.seconds(), **changes})
        )
        self.settle()
        return record

    def put_back(self, record: Maintenance) -> None:
        put_back(self.inspector, record)
        self.settle()

    def is_paused(self) -> bool:
        (ours,) = (c for c in self.components().values() if c.provider_name == "rack")
        return bool(ours.paused)

    def test_requests_wait(self) -> None:
        """They are neither served nor declined, and served when it returns."""
        record = self.drain()
        node_id = self.add_node("a")
        request_id = self.add_request("a")
        self.settle()
        self.clock.advance(7200)
        self.settle()
        self.assert_waits(request_id)
        self.assert_free(node_id)
        self.assertIn("(2 h 0 min) by anna@desk: moving house", self.pool.why(request_id))
        self.clock.advance(3600)
        self.assertIn("(3 h 0 min)", self.pool.why(request_id))
        self.put_back(record)
        self.assert_served(request_id, node_id)

    def test_it_is_shown_as_paused(self) -> None:
        """At once, and no longer than it is out of service; also by its successor."""
        self.assertFalse(self.is_paused())
        record = self.drain()
        self.assertTrue(self.is_paused())
        self.replace_pool(priority=7)
        self.assertTrue(self.is_paused())
        self.put_back(record)
        self.assertFalse(self.is_paused())

    def test_it_returns_by_itself(self) -> None:
        """On the clock."""
        self.drain(until=self.clock.seconds() + 60)
        node_id = self.add_node("a")
        request_id = self.add_request("a")
        self.settle()
        self.clock.advance(59)
        self.settle()
        self.assert_waits(request_id)
        self.clock.advance(1)
        self.settle()
        self.assert_served(request_id, node_id)
        self.assertFalse(self.is_paused())

    def test_others_serve(self) -> None:
        """Those that would be asked later, and those that are not named."""
        other = self.make_pool(provider="other", priority=200)
        self.settle()
        node_id = self.add_node("a", provider="other")
        named = self.add_node("a", provider="other")
        request_id = self.add_request("a")
        self.settle()
        self.assert_waits(request_id)
        self.drain()
        self.assert_served(request_id, node_id)
        wants_rack = self.add_request("a", provider="rack")
        self.settle()
        self.assert_served(wants_rack, named)
        self.assertEqual(other.waiting, 0)

    def test_a_host_is_the_providers_business(self) -> None:
        """The pool looks at nothing again because of one."""
        request_id = self.add_request("a")
        self.settle()
        passes = self.pool.statistics.passes
        take_out(self.inspector, host_record("host"))
        self.settle()
        self.assertEqual(self.pool.statistics.passes, passes)
        self.assert_waits(request_id)

    def test_what_is_being_served_is_served(self) -> None:
        """Whole, or not at all: the promise is one step."""
        node_id = self.add_node("a")
        self.source.hold()
        request_id = self.add_request("a")
        self.settle()
        record = self.drain()
        self.source.answer(node_id)
        self.settle()
        self.assert_served(request_id, node_id)
        self.assert_nothing_held()
        self.put_back(record)

    def test_nothing_is_kept_for_those_who_wait(self) -> None:
        """Room that was kept is others' when the provider is taken out of service."""
        big = self.add_request("a", "a", created_time=self.clock.seconds() - 1000)
        self.add_node("a")
        self.add_node("a", state=NodeState.IN_USE)
        self.settle()
        self.assert_waits(big)
        self.drain()
        self.assertEqual(self.pool._patience._kept, {})


class MakingPoolTests(MakingTestCase):
    """A pool that has nodes made."""

    def test_what_was_taken_is_finished(self) -> None:
        """Nodes under way are made, and nothing more is begun."""
        first = self.add_request("a")
        self.settle()
        (node_id,) = self.maker.asked
        record = take_out(self.inspector, provider_record())
        self.settle()
        second = self.add_request("a")
        self.settle()
        self.ready(node_id)
        self.assert_served(first, node_id)
        self.assert_waits(second)
        self.assertEqual(self.maker.asked, [node_id])
        put_back(self.inspector, record)
        self.settle()
        self.assertEqual(len(self.maker.asked), 2)

    def test_nothing_is_made_for_the_stock(self) -> None:
        """Such requests are left to others, who may be asked again if they have no room now."""
        self.add_pool("a")
        take_out(self.inspector, provider_record())
        self.settle()
        request_id = self.add_request("a", requestor=MIN_READY_REQUESTOR, reuse=False)
        self.settle()
        request = self.request(request_id)
        self.assertEqual((request.state.value, request.declined_by), ("requested", (self.pool_id,)))
        self.assertEqual(self.maker.asked, [])

    def test_what_never_fits_fails(self) -> None:
        """Waiting for the provider's return would be in vain."""
        self.maker.limits = {"instances": 1}
        take_out(self.inspector, provider_record())
        self.settle()
        request_id = self.add_request("a", "a")
        self.settle()
        self.assertEqual(self.state(request_id), "failed")
