"""Saying no, leaving requests to others, and failing what nobody can do."""

from __future__ import annotations

from kazoo.exceptions import OperationTimeoutError

from nodepool_tx.model import RequestState
from nodepool_tx.pools.inhand import DECLINING_AT_ONCE
from nodepool_tx.store import paths
from tests.pools.harness import PoolTestCase


class DecliningTests(PoolTestCase):
    def assert_declined(self, request_id: str, *by: str) -> None:
        request = self.request(request_id)
        self.assertEqual((request.state.value, request.declined_by), ("requested", by))

    def assert_failed(self, request_id: str) -> None:
        self.assertEqual(self.state(request_id), "failed")

    def test_everyone_has_declined(self) -> None:
        """A request that nobody online can serve has failed."""
        request_id = self.add_request("unknown", event_id="e", requestor_data={"x": [1]})
        self.settle()
        self.assert_failed(request_id)
        request = self.request(request_id)
        self.assertEqual(request.declined_by, (self.pool_id,))
        self.assertEqual((request.event_id, request.requestor_data), ("e", {"x": [1]}))
        self.assertEqual(self.pool.statistics.declined, 1)

    def test_before_all_of_us_are_seen(self) -> None:
        """Nobody says no for want of a pool of the same launcher that is about to be seen."""
        call_off = self.inspector.fail_next(
            "create", OperationTimeoutError(), path=lambda path: "/pool/" in path, times=None
        )
        self.launcher.registry.show("other", "main", frozenset({"z"}), 100)
        request_id = self.add_request("z")
        self.settle()
        self.assert_declined(request_id)
        call_off()
        self.inspector.cut(self.launcher.client)
        self.settle()
        self.clock.advance(5)
        self.settle()
        self.assert_declined(request_id)
        self.assertEqual(self.pool.why(request_id), "this pool has no z, others have")

    def test_others_are_still_to_answer(self) -> None:
        """As long as another pool has not said no, the request stays open."""
        other = self.add_pool("a")
        request_id = self.add_request("unknown")
        self.settle()
        self.assert_declined(request_id, self.pool_id)
        self.assertEqual(self.pool.why(request_id), "this pool has declined it")
        self.change_request(
            request_id, declined_by=(self.pool_id, other.id), state=RequestState.FAILED
        )
        self.settle()
        self.assertEqual(self.pool.waiting, 0)

    def test_last_to_decline_fails_it(self) -> None:
        """The last pool to say no fails the request."""
        other = self.add_pool("a")
        request_id = self.add_request("unknown", declined_by=(other.id, "gone-long-ago"))
        self.settle()
        self.assert_failed(request_id)

    def test_declined_once(self) -> None:
        """A declined request is left alone, whatever happens around it."""
        self.add_pool("a")
        request_id = self.add_request("unknown")
        self.settle()
        version = self.request(request_id).version
        self.add_node("unknown")
        self.add_pool("b")
        self.inspector.expire(self.client)
        self.settle()
        self.assertEqual(self.request(request_id).version, version)

    def test_left_to_others(self) -> None:
        """What another pool can serve is left to it, and declined when it is gone."""
        other = self.add_pool("a", "special")
        request_id = self.add_request("a", "special")
        self.settle()
        self.assert_waits(request_id)
        self.delete(other.path)
        self.settle()
        self.assert_failed(request_id)

    def test_left_to_others_who_decline(self) -> None:
        """When the others have declined it is this pool's turn to answer."""
        other = self.add_pool("special")
        request_id = self.add_request("special")
        self.settle()
        self.assert_waits(request_id)
        self.change_request(request_id, declined_by=(other.id,))
        self.settle()
        self.assert_failed(request_id)

    def test_last_but_this_one(self) -> None:
        """What all others have declined is served if this pool can."""
        other = self.add_pool("a")
        node_id = self.add_node("a")
        request_id = self.add_request("a", declined_by=(other.id,))
        self.settle()
        self.assert_served(request_id, node_id)

    def test_locked_when_declined(self) -> None:
        """A request that is locked just then is declined when it is let go."""
        contender = ""

        def lock(_: object) -> None:
            nonlocal contender
            contender = self.lock_request(request_id)

        self.inspector.before("transaction", lock, client=self.client)
        request_id = self.add_request("unknown")
        self.settle()
        self.assertEqual(self.request(request_id).declined_by, ())
        self.delete(contender)
        self.settle()
        self.assert_failed(request_id)

    def test_vanishes_when_declined(self) -> None:
        """A request that is withdrawn just then is not brought back."""
        self.inspector.before(
            "transaction",
            lambda _: self.delete(paths.request(request_id)),
            client=self.client,
        )
        request_id = self.add_request("unknown")
        self.settle()
        self.assertIsNone(self.inspector.stat(paths.request(request_id)))
        self.assert_nothing_held()

    def test_many(self) -> None:
        """Any number of requests are declined, a bounded number of them at a time."""
        at_once = 0

        def count(_: object) -> None:
            nonlocal at_once
            at_once = max(at_once, len(self.pool.in_flight()))

        call_off = self.inspector.before("transaction", count, times=None)
        requests = [self.add_request("unknown") for _ in range(3 * DECLINING_AT_ONCE)]
        # Their own groups, so that one group's progress is not the others'.
        requests += [self.add_request(f"unknown{n}") for n in range(3 * DECLINING_AT_ONCE)]
        node_id, request_id = self.add_node("a"), self.add_request("a")
        self.settle()
        call_off()
        for each in requests:
            self.assert_failed(each)
        self.assertLessEqual(at_once, DECLINING_AT_ONCE + 1)
        self.assert_served(request_id, node_id)
        self.assert_nothing_held()

    def test_two_pools_decline_at_once(self) -> None:
        """When two pools say no at the same moment, both are heard, and it fails once."""
        second = self.make_pool(name="second")
        other = self.make_launcher()
        third = self.make_pool(other, name="third")
        self.settle()
        requests = [self.add_request("unknown") for _ in range(10)]
        self.settle()
        ids = {pool.id for pool in self.components().values()}
        self.assertEqual(len(ids), 3)
        for request_id in requests:
            self.assert_failed(request_id)
            declined_by = self.request(request_id).declined_by
            self.assertEqual((len(declined_by), set(declined_by)), (3, ids))
        for pool in (self.pool, second, third):
            self.assertEqual(pool.statistics.declined, 10)

    def test_own_registration_not_visible(self) -> None:
        """As long as this pool cannot see itself online it answers nothing.

        Neither could it see others, and would fail what they can serve.
        """
        (path,) = self.components()
        self.inspector.fail_next("create", OperationTimeoutError(), client=self.client)
        self.delete(path)
        node_id = self.add_node("a")
        wanted, unknown = self.add_request("a"), self.add_request("unknown")
        self.settle()
        self.assert_waits(wanted, unknown)
        self.assertEqual(self.request(unknown).declined_by, ())
        self.inspector.expire(self.client)
        self.settle()
        self.assertEqual(len(self.components()), 1)
        self.assert_served(wanted, node_id)
        self.assert_failed(unknown)

    def test_others_change_while_away(self) -> None:
        """A pool elsewhere that is replaced by a new one while we are away is not missed."""
        other = self.add_pool("special")
        request_id = self.add_request("special")
        self.settle()
        self.inspector.suspend(self.client)
        self.settle()
        self.delete(other.path)
        back = self.add_pool("special")
        self.inspector.resume(self.client)
        self.settle()
        self.assert_waits(request_id)
        self.assertNotEqual(back.id, other.id)


class YieldingTests(PoolTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.node_id = self.add_node("a")
        self.settle()

    def test_priority(self) -> None:
        """A pool with a lower number goes first; when it has gone the request is served."""
        other = self.add_pool("a", priority=50)
        request_id = self.add_request("a")
        self.settle()
        self.assert_waits(request_id)
        self.assertIn("has priority 50", self.pool.why(request_id))
        self.delete(other.path)
        self.settle()
        self.assert_served(request_id, self.node_id)

    def test_pool_with_priority_is_at_quota(self) -> None:
        """A pool that shows itself paused is not waited for; one that resumes is."""
        other = self.add_pool("a", priority=50, paused=True)
        first = self.add_request("a")
        self.settle()
        self.assert_served(first, self.node_id)
        self.change_pool(other, paused=False)
        second = self.add_request("a")
        node_id = self.add_node("a")
        self.settle()
        self.assert_waits(second)
        self.change_pool(other, paused=True)
        self.settle()
        self.assert_served(second, node_id)

    def test_pool_with_priority_declines(self) -> None:
        """When the pool that goes first has declined, the request is served."""
        other = self.add_pool("a", priority=50)
        request_id = self.add_request("a")
        self.settle()
        self.assert_waits(request_id)
        self.change_request(request_id, declined_by=(other.id,))
        self.settle()
        self.assert_served(request_id, self.node_id)

    def test_own_priority_changes(self) -> None:
        """A reload that gives this pool a lower number than the other's ends the waiting."""
        self.add_pool("a", priority=50)
        request_id = self.add_request("a")
        self.settle()
        self.assert_waits(request_id)
        self.replace_pool(priority=10)
        self.assert_served(request_id, self.node_id)

    def test_named_provider(self) -> None:
        """A request that names a provider is left to it while it is online."""
        other = self.add_pool("a", provider="named")
        request_id = self.add_request("a", provider="named")
        self.settle()
        self.assert_waits(request_id)
        self.assertIn("named", self.pool.why(request_id))
        self.delete(other.path)
        self.settle()
        self.assert_served(request_id, self.node_id)

    def test_this_provider_is_named(self) -> None:
        """One that names this provider is served, whatever priority others have."""
        self.add_pool("a", priority=1)
        request_id = self.add_request("a", provider="rack")
        self.settle()
        self.assert_served(request_id, self.node_id)

    def test_one_that_yields_holds_up_nobody(self) -> None:
        """Requests behind one that is left to others are served."""
        self.add_pool("a", provider="named")
        first = self.add_request("a", provider="named")
        second = self.add_request("a")
        self.settle()
        self.assert_waits(first)
        self.assert_served(second, self.node_id)
