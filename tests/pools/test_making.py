"""Requests for which nodes are made: from the taking to the end."""

from __future__ import annotations

from collections.abc import Callable
from unittest.mock import patch

from twisted.internet.defer import Deferred, fail

from nodepool_tx.model import MIN_READY_REQUESTOR, Node, NodeState, RequestState
from nodepool_tx.pools.admission import Admission
from nodepool_tx.pools.interface import Objection
from nodepool_tx.pools.taking import RETRY
from nodepool_tx.store import paths
from nodepool_tx.store.change import Uncertain
from nodepool_tx.store.requests import RequestChange
from nodepool_tx.store.usage import Account
from tests.pools.harness import written
from tests.pools.maker import ONE, MakingTestCase, ScriptedMaker

RACK = Account.of_provider("rack")


class TakingTests(MakingTestCase):
    def test_one_node(self) -> None:
        """A node is made for a request, which is pending and locked meanwhile."""
        request_id = self.add_request("a", tenant_name="t")
        self.settle()
        self.assertEqual(self.state(request_id), "pending")
        self.assertTrue(self.store.requests.is_locked(request_id))
        (node_id,) = self.maker.asked
        node = self.node(node_id)
        self.assertEqual((node.state, node.allocated_to), (NodeState.INIT, request_id))
        self.assertEqual((node.resources, node.tenant_name), (ONE, "t"))
        self.assertEqual(self.pool.why(request_id), "nodes are being made: 0 of 1 are there")
        self.done(self.maker.begin(node_id))
        self.assertEqual(self.state(request_id), "pending")
        self.ready(node_id)
        self.assert_served(request_id, node_id)
        self.assert_nothing_held()
        self.assertEqual(self.pool.statistics.served, 1)

    def test_order(self) -> None:
        """The nodes come in the order of the labels, whichever is ready first."""
        request_id = self.add_request("b", "a", "b", "c")
        self.settle()
        node_ids = list(self.maker.asked)
        by_label = {label: [] for label in "abc"}
        for node_id in sorted(node_ids):
            by_label[self.node(node_id).type[0]].append(node_id)
        self.ready(*reversed(node_ids))
        (a,), (first_b, second_b), (c,) = by_label.values()
        self.assert_served(request_id, first_b, a, second_b, c)

    def test_refused_and_served_by_others(self) -> None:
        """Nothing is remembered of a request that others were faster to take."""
        request_id = self.add_request("a")

        def taken(_: object) -> None:
            self.change_request(request_id, state=RequestState.FULFILLED)

        self.inspector.before("transaction", taken, client=self.client)
        self.settle()
        self.assertEqual(self.pool.statistics.conflicts, 1)
        self.delete(paths.request(request_id))
        self.settle()
        self.assertEqual(self.pool._hands._taking._refused, {})
        self.assert_nothing_held()

    def test_a_mistake_of_ours(self) -> None:
        """A request that cannot be taken for an unforeseen reason is tried again after a pause."""
        self.add_node("a")
        request_id = self.add_request("b", "a")
        asked: list[Node] = []

        def check(node: Node) -> Deferred[bool]:
            asked.append(node)
            # No more answers than that, so that this ends in any case.
            return fail(ZeroDivisionError()) if len(asked) < 9 else Deferred()

        with patch.object(self.source, "check", check):
            for times in (1, 2, 3):
                self.settle()
                self.assertEqual(len(asked), times)
                self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
                self.clock.advance(RETRY / 2)
                self.settle()
                self.assertEqual(len(asked), times)
                self.assertEqual(len(self.pool.in_flight()), 1)
                if times < 3:
                    self.clock.advance(RETRY / 2)
        self.clock.advance(RETRY / 2)
        self.settle()
        self.assertEqual(self.state(request_id), "pending")

    def test_stock_comes_first(self) -> None:
        """What is in stock is not made; a request that needs nothing made is never pending."""
        in_stock = self.add_node("a")
        mixed = self.add_request("b", "a")
        self.settle()
        self.assertEqual(self.node(in_stock).allocated_to, mixed)
        (made,) = self.maker.asked
        self.ready(made)
        self.assert_served(mixed, made, in_stock)
        other = self.add_node("a")
        self.settle()
        request_id = self.add_request("a")
        self.settle()
        self.assert_served(request_id, other)
        self.assertEqual(self.request(request_id).version, 1)
        self.assert_nothing_held()

    def test_no_reuse(self) -> None:
        """A request for new nodes gets none from stock."""
        in_stock = self.add_node("a")
        request_id = self.add_request("a", reuse=False)
        self.settle()
        self.ready(*self.maker.asked)
        self.assert_served(request_id, *self.maker.asked)
        self.assert_free(in_stock)

    def test_min_ready(self) -> None:
        """Nodes made for the stock are promised to nobody when they are ready."""
        self.add_node("a")
        request_id = self.add_request("a", "a", requestor=MIN_READY_REQUESTOR)
        self.settle()
        self.assertEqual(len(self.maker.asked), 2)
        self.ready(*self.maker.asked)
        self.assertEqual(self.state(request_id), "fulfilled")
        self.assertEqual(self.request(request_id).nodes, tuple(sorted(self.maker.asked)))
        self.assert_free(*self.maker.asked)

    def test_unclaimed(self) -> None:
        """What is being made for nobody is used before anything new is made."""
        first = self.add_request("a")
        self.settle()
        (node_id,) = self.maker.asked
        self.done(self.maker.begin(node_id))
        self.delete(paths.request(first))
        self.settle()
        self.assertIsNone(self.node(node_id).allocated_to)
        second = self.add_request("a", tenant_name="u")
        self.settle()
        self.assertEqual(self.node(node_id).allocated_to, second)
        self.assertEqual(self.node(node_id).tenant_name, "u")
        self.assertEqual(self.maker.asked, [node_id])
        self.ready(node_id)
        self.assert_served(second, node_id)
        self.assert_nothing_held()

    def test_orphan(self) -> None:
        """So is one that nobody holds and whose maker is gone, until it is adopted."""
        orphan = self.add_node("a", state=NodeState.BUILDING, resources=ONE)
        self.settle()
        request_id = self.add_request("a")
        self.settle()
        self.assertEqual(self.node(orphan).allocated_to, request_id)
        self.assertEqual(self.maker.asked, [])
        self.ready(orphan)
        self.assert_served(request_id, orphan)

    def test_zone_of_the_stock(self) -> None:
        """The nodes of a request share the zone in which the most of them are in stock."""
        self.maker.zone = "z3"
        self.add_node("a", az="z1")
        b, c = self.add_node("b", az="z2"), self.add_node("c", az="z2")
        request_id = self.add_request("a", "b", "c")
        self.settle()
        (made,) = self.maker.asked
        self.assertEqual((self.node(made).az, self.node(made).type), ("z2", ("a",)))
        self.ready(made)
        self.assert_served(request_id, made, b, c)

    def test_zone_of_what_is_being_made(self) -> None:
        """Nodes being made count for that where nothing is in stock."""
        self.maker.zone = "z3"
        orphan = self.add_node("a", state=NodeState.BUILDING, az="z1", resources=ONE)
        self.settle()
        request_id = self.add_request("a", "b")
        self.settle()
        (made,) = self.maker.asked
        self.assertEqual(self.node(made).az, "z1")
        self.assertEqual(self.nodes_for(request_id), sorted([orphan, made]))

    def test_zone_of_the_maker(self) -> None:
        """Else the maker says where."""
        self.maker.zone = "z3"
        self.add_request("a", "b")
        self.settle()
        self.assertEqual({self.node(node_id).az for node_id in self.maker.asked}, {"z3"})

    def test_stock_of_several_zones(self) -> None:
        """A request that stock could serve from two zones gets what it lacks made in one."""
        one = self.add_node("a", az="z1")
        self.add_node("a", az="z2")
        request_id = self.add_request("a", "a")
        self.settle()
        (made,) = self.maker.asked
        self.assertEqual(self.node(made).az, "z1")
        self.assertEqual(self.nodes_for(request_id), sorted([one, made]))

    def test_dead_stock(self) -> None:
        """A node in stock that turns out to be unfit is replaced by a new one."""
        dead = self.add_node("a")
        self.source.make_unfit(dead)
        request_id = self.add_request("a", "b")
        self.settle()
        self.assertEqual(len(self.maker.asked), 2)
        self.ready(*self.maker.asked)
        self.assert_served(request_id)

    def test_stock_whose_maker_was_not_told(self) -> None:
        """A node is of use to others though the last write of its maker was not answered."""
        first = self.add_request("a")
        self.settle()
        (node_id,) = self.maker.asked
        self.done(self.maker.begin(node_id))
        self.delete(paths.request(first))
        self.settle()
        self.inspector.lose_reply_next("transaction", client=self.client)
        ending = Deferred.fromCoroutine(self.maker.end(node_id))
        self.settle()
        self.failureResultOf(ending, Uncertain)
        self.assert_free(node_id)
        request_id = self.add_request("a", "b")
        self.settle()
        self.ready(self.maker.asked[-1])
        self.assert_served(request_id, node_id, self.maker.asked[-1])

    def test_max_concurrency(self) -> None:
        """A request counts from its taking to its end."""
        self.replace_pool(admission=Admission(1))
        first, second = self.add_request("a"), self.add_request("b")
        self.settle()
        self.assertEqual(self.state(second), "requested")
        self.assertEqual(self.pool.why(second), "max-concurrency is reached")
        self.ready(*self.maker.asked)
        self.assert_served(first)
        self.assertEqual(self.state(second), "pending")


class TooLateTests(MakingTestCase):
    """A request is over when its lock is had; nothing is left of that lock."""

    def assert_nothing_left(self, action: Callable[[str], object]) -> None:
        taken = []

        def act(call: object) -> None:
            self.assertNotEqual(self.inspector.dump(f"{paths.REQUEST_LOCKS}/"), {})
            taken.append(call)
            action(request_id)

        self.inspector.before("transaction", act, client=self.client, times=1)
        request_id = self.add_request("a")
        self.settle()
        self.assertEqual(len(taken), 1)
        self.assertEqual(self.inspector.dump(f"{paths.REQUEST_LOCKS}/"), {})
        self.assertEqual(self.maker.asked, [])
        self.assert_nothing_held()

    def test_cancelled(self) -> None:
        """Withdrawn in that moment."""
        self.assert_nothing_left(lambda request_id: self.delete(paths.request(request_id)))

    def test_answered(self) -> None:
        """Served by somebody else in that moment."""
        self.assert_nothing_left(
            lambda request_id: self.change_request(
                request_id, state=RequestState.FULFILLED, nodes=("0000009999",)
            )
        )

    def test_still_open(self) -> None:
        """One that only was written to is taken in the end."""
        asked: list[str] = []

        def act(call: object) -> None:
            asked.append("written")
            self.change_request(request_id, relative_priority=7)

        self.inspector.before("transaction", act, client=self.client, times=1)
        request_id = self.add_request("a")
        self.settle()
        self.assertEqual((asked, self.state(request_id)), (["written"], "pending"))
        self.assertNotEqual(self.inspector.dump(f"{paths.REQUEST_LOCKS}/"), {})


class ManyPoolsTests(MakingTestCase):
    def locks_made(self) -> int:
        """Contenders for locks that were made while one request was taken."""
        self.inspector.requests.clear()
        request_id = self.add_request("a")
        self.settle()
        self.assertEqual(self.state(request_id), "pending")
        return self.inspector.requests["create"]

    def test_one_asks_for_the_lock(self) -> None:
        """Of ten pools of a process that want a request, one asks ZooKeeper for it."""
        alone = self.locks_made()
        for n in range(9):
            provider = f"rack{n}"
            self.make_making_pool(maker=ScriptedMaker(self.store, provider), provider=provider)
        self.settle()
        self.assertEqual(self.locks_made(), alone)


class EndTests(MakingTestCase):
    """What becomes of a request that was taken."""

    def setUp(self) -> None:
        super().setUp()
        self.request_id = self.add_request("a", "b", tenant_name="t")
        self.settle()
        self.a, self.b = sorted(self.maker.asked)
        self.done(self.maker.begin(self.a))

    def assert_failed(self) -> None:
        request = self.request(self.request_id)
        self.assertEqual((request.state.value, request.declined_by), ("failed", (self.pool_id,)))
        self.assertEqual(request.nodes, ())
        self.assert_nothing_held()

    def lock_directories(self) -> list[str]:
        return list(self.inspector.dump(f"{paths.REQUEST_LOCKS}/"))

    def test_its_lock_goes(self) -> None:
        """With the answer, and in the same transaction: nothing is left for a sweep."""
        self.assertNotEqual(self.lock_directories(), [])
        self.ready(self.a)
        self.inspector.requests.clear()
        self.ready(self.b)
        self.assert_served(self.request_id, self.a, self.b)
        self.assertEqual(self.lock_directories(), [])
        self.assertEqual(self.inspector.requests["delete"], 0)

    def test_its_lock_goes_if_others_were_there_too(self) -> None:
        """One who came too late has it still, and then the janitor does that."""
        self.ready(self.a)
        contender = self.lock_request(self.request_id)
        self.settle()
        self.ready(self.b)
        self.assert_served(self.request_id, self.a, self.b)
        self.assertIn(contender, self.lock_directories())

    def test_node_fails(self) -> None:
        """A node that cannot be made declines the request; the others go into stock."""
        self.ready(self.b, state=NodeState.FAILED)
        self.assert_failed()
        node = self.node(self.a)
        self.assertEqual((node.state, node.allocated_to), (NodeState.BUILDING, None))
        self.assertIsNone(node.tenant_name)
        self.ready(self.a)
        self.assert_free(self.a)

    def test_why_it_failed(self) -> None:
        """Is said with what went wrong the last time."""
        self.maker.errors[self.b] = "the moon is in the way"
        self.ready(self.b, state=NodeState.FAILED)
        found = self.pool.explain(self.request_id)
        assert found is not None
        self.assertTrue(
            found.verdict.endswith(f": node {self.b} is failed: the moon is in the way")
        )

    def test_others_remain(self) -> None:
        """Where others are online that have not declined, the request is open for them."""
        self.add_pool("a", "b")
        self.settle()
        self.ready(self.b, state=NodeState.FAILED)
        request = self.request(self.request_id)
        self.assertEqual((request.state.value, request.declined_by), ("requested", (self.pool_id,)))
        self.assertEqual(self.pool.why(self.request_id), "this pool has declined it")

    def test_node_vanishes(self) -> None:
        """So does one that somebody removes."""
        self.ready(self.a)
        self.delete(paths.node(self.b))
        self.settle()
        self.assert_failed()
        self.assert_free(self.a)

    def test_node_is_unreadable(self) -> None:
        """Or whose record turns into nonsense."""
        self.ready(self.a)
        self.inspector.set(paths.node(self.b), b"[")
        self.settle()
        self.assert_failed()
        self.assert_free(self.a)

    def test_node_is_deleted(self) -> None:
        """Or that an operator deletes."""
        self.ready(self.a, self.b)
        request_id = self.add_request("a", "b")
        self.settle()
        node_id = self.maker.asked[-1]
        self.change_node(node_id, state=NodeState.DELETING)
        self.settle()
        self.assertEqual(self.state(request_id), "failed")

    def test_node_is_given_away(self) -> None:
        """Or that is promised to somebody else: that one keeps it."""
        self.ready(self.a)
        self.change_node(self.a, allocated_to="100-0000004711")
        self.settle()
        self.assert_failed()
        self.assertEqual(self.node(self.a).allocated_to, "100-0000004711")

    def test_request_vanishes(self) -> None:
        """The nodes of a request that is withdrawn go into stock, and its lock goes."""
        self.delete(paths.request(self.request_id))
        self.settle()
        self.assertEqual([self.node(n).allocated_to for n in (self.a, self.b)], [None, None])
        self.assertIsNone(self.inspector.stat(paths.request_lock(self.request_id)))
        self.ready(self.a, self.b)
        self.assert_free(self.a, self.b)
        self.assert_nothing_held()

    def test_request_is_unreadable(self) -> None:
        """So do those of one that nobody can read any more."""
        self.inspector.set(paths.request(self.request_id), b"[")
        self.settle()
        self.assertEqual([self.node(n).allocated_to for n in (self.a, self.b)], [None, None])
        self.assert_nothing_held()

    def test_request_is_taken_away(self) -> None:
        """Or of one that somebody else has given another state."""
        self.change_request(self.request_id, state=self.request(self.request_id).state.FAILED)
        self.settle()
        self.assertEqual([self.node(n).allocated_to for n in (self.a, self.b)], [None, None])
        self.assertEqual(self.state(self.request_id), "failed")
        self.assert_nothing_held()

    def test_node_is_aborted(self) -> None:
        """A node for which the cloud had no room is replaced at once if there is room now."""
        self.ready(self.b, state=NodeState.ABORTED)
        self.assertEqual(self.state(self.request_id), "pending")
        again = self.maker.asked[-1]
        self.assertNotIn(again, (self.a, self.b))
        self.assertEqual(self.node(again).type, ("b",))
        self.remove(self.b)
        self.ready(self.a, again)
        self.assert_served(self.request_id, self.a, again)
        self.assert_nothing_held()

    def test_aborted_waits_for_room(self) -> None:
        """Else when there is; what it has it keeps."""
        self.maker.limits = {"instances": 2}
        self.ready(self.a)
        self.ready(self.b, state=NodeState.ABORTED)
        self.assertEqual(len(self.maker.asked), 2)
        self.assertEqual(self.node(self.a).allocated_to, self.request_id)
        self.remove(self.b)
        self.assertEqual(len(self.maker.asked), 3)
        self.ready(self.maker.asked[-1])
        self.assert_served(self.request_id)

    def test_aborted_waits_for_the_maker(self) -> None:
        """Or when the maker says that something has changed."""
        self.maker.limits = {"instances": 1}
        self.ready(self.a)
        self.ready(self.b, state=NodeState.ABORTED)
        self.remove(self.b)
        self.assertEqual(len(self.maker.asked), 2)
        self.maker.limits = {"instances": 2}
        self.maker.tell()
        self.settle()
        self.assertEqual(len(self.maker.asked), 3)

    def test_aborted_for_too_long(self) -> None:
        """After a while it gives back what it has, as two could wait for each other."""
        self.maker.limits = {"instances": 1}
        self.ready(self.a)
        self.ready(self.b, state=NodeState.ABORTED)
        self.remove(self.b)
        self.clock.advance(299)
        self.settle()
        self.assertEqual(self.state(self.request_id), "pending")
        self.maker.limits = {"instances": 2}
        self.maker.objections["b"] = Objection("the breaker is open", lasting=False)
        self.clock.advance(2)
        self.settle()
        self.assertEqual(self.state(self.request_id), "requested")
        self.assert_free(self.a)
        self.maker.objections.clear()
        self.maker.tell()
        self.settle()
        self.assertEqual(self.state(self.request_id), "pending")
        self.ready(self.maker.asked[-1])
        self.assert_served(self.request_id, self.a, self.maker.asked[-1])

    def test_lock_is_lost(self) -> None:
        """When its lock goes, everything is left to whoever has it then."""
        for path in self.inspector.dump(paths.request_lock(self.request_id)):
            if path.count("/") == 4:
                self.delete(path)
        self.ready(self.a, self.b)
        self.assertEqual(self.state(self.request_id), "pending")
        self.assertEqual(self.node(self.a).allocated_to, self.request_id)
        self.assertEqual(self.pool.in_flight(), ())
        self.assertEqual(self.pool.statistics.served, 0)

    def test_session_is_lost(self) -> None:
        """The same when the session ends."""
        self.inspector.expire(self.client)
        self.settle()
        self.assertEqual(self.state(self.request_id), "pending")
        self.assertEqual(self.pool.in_flight(), ())
        self.assertEqual(self.node(self.a).allocated_to, self.request_id)

    def test_connection_is_lost(self) -> None:
        """A connection that comes back in time changes nothing."""
        self.inspector.suspend(self.client)
        self.settle()
        self.clock.advance(3)
        self.inspector.resume(self.client)
        self.settle()
        self.ready(self.a, self.b)
        self.assert_served(self.request_id, self.a, self.b)

    def test_stop(self) -> None:
        """A pool that stops leaves it pending, unlocked, and all else as it is."""
        self.done(self.pool.stopService())
        self.assertEqual(self.state(self.request_id), "pending")
        self.assertFalse(self.store.requests.is_locked(self.request_id))
        self.assertEqual(self.nodes_for(self.request_id), [self.a, self.b])
        self.assertEqual(self.maker._observers, [])

    def test_reload(self) -> None:
        """What was taken before the pool is idled goes on; it takes nothing more."""
        idle, retired = self.pool.idle(), self.pool.retired()
        self.settle()
        self.successResultOf(idle)
        self.assertNoResult(retired)
        late = self.add_request("c")
        self.settle()
        self.assertEqual(self.state(late), "requested")
        successor = self.make_making_pool()
        self.settle()
        self.assertEqual(self.state(late), "pending")
        self.assertEqual(self.state(self.request_id), "pending")
        self.ready(self.a, self.b)
        self.assert_served(self.request_id, self.a, self.b)
        self.successResultOf(retired)
        self.assertEqual(successor.statistics.served, 0)


class StopTests(MakingTestCase):
    """The pool stops, and nothing remains with it."""

    def stop(self, _: object = None) -> None:
        self.stopped.append(self.pool.stopService())

    def setUp(self) -> None:
        super().setUp()
        self.stopped: list[Deferred[None]] = []

    def assert_nothing_left(self, request_id: str) -> None:
        """Nothing is held or counted, and started again it serves the request."""
        self.settle()
        self.successResultOf(self.stopped[0])
        self.assertEqual(self.launcher.reservations.spoken_for(), {})
        self.assert_nothing_held()
        self.change_request(request_id, state=RequestState.REQUESTED)
        self.pool.startService()
        self.settle()
        self.assertEqual(self.state(request_id), "pending")

    def test_while_it_waits_to_try_again(self) -> None:
        """A request that was refused several times is nobody's once the pool has stopped."""
        contender = self.add_request("a")
        call_off = self.inspector.before(
            "transaction", self.change_it(contender), path=written, client=self.client, times=None
        )
        self.settle()
        call_off()
        self.assertEqual(len(self.pool.in_flight()), 1)
        self.stop()
        self.assert_nothing_left(contender)

    def change_it(self, request_id: str) -> Callable[[object], None]:
        return lambda _: self.change_request(request_id, relative_priority=1)

    def test_as_soon_as_it_has_taken(self) -> None:
        """A request that was taken in the moment of the stop is unlocked, for the janitor."""

        def on_request(change: RequestChange) -> None:
            if change.after is not None and change.after.state is RequestState.PENDING:
                unsubscribe()
                self.stop()

        unsubscribe = self.store.requests.subscribe(on_request)
        request_id = self.add_request("a")
        self.assert_nothing_left(request_id)
