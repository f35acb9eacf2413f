"""Old nodes, leftovers and hopeless requests, with one janitor and with two."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import attrs
from kazoo.exceptions import ConnectionLoss
from twisted.trial.unittest import SynchronousTestCase

from nodepool_tx.janitor import past_hold_age, past_ready_age
from nodepool_tx.model import Node, NodeState, RequestState
from nodepool_tx.store import paths
from tests.janitor_stage import INTERVAL, LOCK_AGE, JanitorTestCase, config_of
from tests.pools.harness import EPOCH, written


class AgeTests(SynchronousTestCase):
    """When a node is too old."""

    def ready(self, age: float, *labels: str, **fields: Any) -> bool:
        node = Node(
            **{"state": NodeState.READY, "type": labels, "state_time": EPOCH - age, **fields}
        )
        return past_ready_age(node, config_of(a=100, b=200, forever=0), EPOCH)

    def test_ready_age(self) -> None:
        """A node is too old from its label's age on, counted from when it became ready."""
        self.assertFalse(self.ready(99.9, "a"))
        self.assertTrue(self.ready(100, "a"))

    def test_several_labels(self) -> None:
        """Of several labels the shortest age counts; labels without one do not."""
        self.assertTrue(self.ready(150, "b", "a"))
        self.assertFalse(self.ready(150, "b", "forever", "unknown"))
        self.assertFalse(self.ready(10_000, "forever"))
        self.assertFalse(self.ready(10_000, "unknown"))
        self.assertFalse(self.ready(10_000))

    def test_not_in_stock(self) -> None:
        """A node that is promised, or not ready, has no such age."""
        self.assertFalse(self.ready(1000, "a", allocated_to="100-1"))
        for state in NodeState:
            expected = state is NodeState.READY
            self.assertEqual(self.ready(1000, "a", state=state), expected)

    def held(self, age: float, longest: float, **fields: Any) -> bool:
        node = Node(**{"state": NodeState.HOLD, "state_time": EPOCH - age, **fields})
        return past_hold_age(node, config_of(max_hold_age=longest), EPOCH)

    def test_hold_age(self) -> None:
        """Without a time of its own a held node is kept as long as the configuration says."""
        for none in (None, 0, -5):
            self.assertFalse(self.held(99, 100, hold_expiration=none))
            self.assertTrue(self.held(100, 100, hold_expiration=none))
            self.assertFalse(self.held(10**9, math.inf, hold_expiration=none))

    def test_hold_expiration(self) -> None:
        """A time of its own can only be shorter."""
        self.assertFalse(self.held(49, 100, hold_expiration=50))
        self.assertTrue(self.held(50, 100, hold_expiration=50))
        self.assertTrue(self.held(100, 100, hold_expiration=500))
        self.assertTrue(self.held(50, math.inf, hold_expiration=50))

    def test_not_held(self) -> None:
        """A node that is not held has no such age."""
        for state in NodeState:
            self.assertEqual(self.held(1000, 1, state=state), state is NodeState.HOLD)


class AgedNodeTests(JanitorTestCase):
    def test_ready_too_long(self) -> None:
        """A node that has been in stock too long is deleted by the next sweep."""
        node_id, other = self.add_node("a"), self.add_node("b")
        self.sweep(16)
        self.assertIs(self.node(node_id).state, NodeState.READY)
        self.sweep()
        node = self.node(node_id)
        self.assertEqual((node.state, node.state_time), (NodeState.DELETING, self.clock.seconds()))
        self.written_once(paths.node(node_id), 0)
        self.assertIs(self.node(other).state, NodeState.READY)

    def test_held_too_long(self) -> None:
        """A held node is deleted when its time is over, whoever locked it before."""
        node_id = self.add_node("a", state=NodeState.HOLD, hold_expiration=100)
        longer = self.add_node("a", state=NodeState.HOLD)
        self.sweep(2)
        self.assertIs(self.node(node_id).state, NodeState.DELETING)
        self.assertIs(self.node(longer).state, NodeState.HOLD)
        self.clock.advance(5000)
        self.settle()
        self.assertIs(self.node(longer).state, NodeState.DELETING)

    def test_locked(self) -> None:
        """A node that somebody holds is not deleted, whatever its age."""
        node_id = self.add_node("a", state=NodeState.HOLD, hold_expiration=100)
        self.lock_node(node_id)
        self.sweep(5)
        self.assertIs(self.node(node_id).state, NodeState.HOLD)

    def test_reserved(self) -> None:
        """A node that is being handed out just now is not deleted under our hands."""
        node_id = self.add_node("a")
        self.settle()
        for janitor in self.janitors[1:]:
            self.done(janitor.stopService())
        self.store.nodes.reserve([node_id])
        self.clock.advance(2000)
        self.settle()
        self.assertIs(self.node(node_id).state, NodeState.READY)
        self.store.nodes.unreserve([node_id])
        self.sweep()
        self.assertIs(self.node(node_id).state, NodeState.DELETING)

    def test_given_away_at_the_last_moment(self) -> None:
        """A node that is promised just then stays promised."""
        node_id = self.add_node("a")
        request_id = self.add_request("a", state=RequestState.FULFILLED)
        self.settle()
        self.inspector.before(
            "transaction",
            lambda _: self.change_node(node_id, allocated_to=request_id),
            path=paths.node(node_id),
        )
        self.clock.advance(2000)
        self.settle()
        self.sweep(2)
        self.assertIs(self.node(node_id).state, NodeState.READY)
        self.assertEqual(self.node(node_id).allocated_to, request_id)

    def test_others_stock(self) -> None:
        """Nodes of providers that do not run here are not judged by our configuration."""
        ready = self.add_node("a", provider="elsewhere")
        held = self.add_node("a", provider="elsewhere", state=NodeState.HOLD, hold_expiration=1)
        self.clock.advance(10_000)
        self.settle()
        self.assertEqual((self.node(ready).version, self.node(held).version), (0, 0))

    def test_new_configuration(self) -> None:
        """The ages are those of the configuration in force."""
        node_id = self.add_node("a")
        self.config = config_of(a=100)
        self.sweep(2)
        self.assertIs(self.node(node_id).state, NodeState.DELETING)


class LeftoverTests(JanitorTestCase):
    def test_empty_node(self) -> None:
        """A node znode without data is removed, with the lock that nobody holds."""
        bare = self.inspector.create(f"{paths.NODES}/0000000100")
        locked_once = self.inspector.create(f"{paths.NODES}/0000000101/lock")
        self.settle()
        self.sweep()
        self.assertFalse(self.exists(bare))
        self.assertFalse(self.exists(locked_once.rpartition("/")[0]))

    def test_empty_and_held(self) -> None:
        """Not as long as somebody holds it, or begins to just then."""
        held = f"{paths.NODES}/0000000100"
        contender = self.lock(f"{held}/lock")
        taken = self.inspector.create(f"{paths.NODES}/0000000101/lock")
        self.settle()
        self.inspector.before("transaction", lambda _: self.lock(taken), path=written)
        self.sweep()
        self.assertTrue(self.exists(held))
        self.assertTrue(self.exists(taken))
        self.delete(contender)
        self.sweep()
        self.assertFalse(self.exists(held))

    def test_filled_just_then(self) -> None:
        """Not if there is data in it after all."""
        path = self.inspector.create(f"{paths.NODES}/0000000100")
        self.settle()
        self.inspector.before(
            "transaction", lambda _: self.inspector.set(path, b"{}"), path=written
        )
        self.sweep()
        self.assertTrue(self.exists(path))

    def test_garbage(self) -> None:
        """Nodes with data that makes no sense are never removed."""
        bodies = (b"rubbish", b'{"state": "empty"}', b"{}", b" ", b'"the znode is empty"')
        nodes = [self.inspector.create(f"{paths.NODES}/", body, sequence=True) for body in bodies]
        self.settle()
        self.inspector.requests.clear()
        self.sweep(5)
        self.clock.advance(10**6)
        self.settle()
        self.assertEqual(self.inspector.requests, {})
        for path in nodes:
            self.assertTrue(self.exists(path))

    def test_empty_but_for_something_foreign(self) -> None:
        """Nor is one that somebody keeps something else in."""
        foreign = self.inspector.create(f"{paths.NODES}/0000000100/something")
        self.inspector.create(f"{paths.NODES}/0000000100/lock")
        self.sweep(5)
        self.assertTrue(self.exists(foreign))

    def test_request_lock(self) -> None:
        """The lock of a request that is gone is removed when it is old enough."""
        request_id = self.add_request("x")
        contender = self.lock_request(request_id)
        directory = paths.request_lock(request_id)
        self.delete(contender)
        self.delete(paths.request(request_id))
        self.settle()
        self.sweep(int(LOCK_AGE / INTERVAL) - 1)
        self.assertTrue(self.exists(directory))
        self.sweep(2)
        self.assertFalse(self.exists(directory))

    def test_request_locks_do_not_pile_up(self) -> None:
        """By default there are never more of them than a few minutes bring."""
        for _ in range(10):
            directory = self.inspector.create(paths.request_lock(self.gone()))
            self.sweep(6)
            self.assertFalse(self.exists(directory))

    def gone(self) -> str:
        """A request that was answered and removed."""
        request_id = self.add_request("x")
        self.delete(paths.request(request_id))
        return request_id

    def test_old_when_found(self) -> None:
        """Its age counts from when it was made, not from when we came."""
        directory = self.inspector.create(paths.request_lock("100-0000000000"))
        self.clock.advance(INTERVAL / 2)
        for janitor in self.janitors:
            self.done(janitor.stopService())
        self.clock.advance(LOCK_AGE)
        self.settle()
        self.make_janitor(self.make_store())
        self.assertTrue(self.exists(directory))
        self.sweep()
        self.assertFalse(self.exists(directory))

    def test_request_locks_that_stay(self) -> None:
        """The lock of a request that is there, or that somebody holds, stays."""
        there = self.add_request("x")
        unreadable = self.add_request("x")
        self.inspector.set(paths.request(unreadable), b"rubbish")
        for request_id in (there, unreadable):
            self.inspector.create(paths.request_lock(request_id))
        self.lock_request("100-0000009999")
        self.settle()
        self.clock.advance(10 * LOCK_AGE)
        self.settle()
        self.sweep(3)
        for request_id in (there, unreadable, "100-0000009999"):
            self.assertTrue(self.exists(paths.request_lock(request_id)))

    def test_taken_at_the_last_moment(self) -> None:
        """A lock that somebody takes just then stays."""
        directory = self.inspector.create(paths.request_lock("100-0000000000"))
        self.inspector.before("delete", lambda _: self.lock(directory), path=directory)
        self.clock.advance(2 * LOCK_AGE)
        self.settle()
        self.sweep(2)
        self.assertTrue(self.exists(directory))

    def test_lost_connection(self) -> None:
        """A connection that breaks meanwhile is no harm; the next sweep does the rest."""
        for op in ("delete", "get", "transaction", "exists", "get_children"):
            node = self.inspector.create(f"{paths.NODES}/0000000100")
            lock = self.inspector.create(paths.request_lock("100-0000000000"))
            self.settle()
            call_off = self.inspector.fail_next(op, ConnectionLoss(), client=self.client)
            self.clock.advance(2 * LOCK_AGE)
            self.settle()
            self.sweep(2)
            call_off()
            self.assertFalse(self.exists(node))
            self.assertFalse(self.exists(lock))


class HopelessTests(JanitorTestCase):
    """Requests that everyone online has declined."""

    def setUp(self) -> None:
        super().setUp()
        self.pool = self.add_pool("a")
        self.request_id = self.add_request("x", declined_by=(self.pool.id, "gone"), event_id="e")
        self.settle()

    def test_fails(self) -> None:
        """A request that only a pool could have served which is gone, fails."""
        self.sweep()
        self.assertEqual(self.state(self.request_id), "requested")
        self.sweep()
        self.assertEqual(self.state(self.request_id), "failed")
        self.assertEqual(self.request(self.request_id).event_id, "e")
        self.written_once(paths.request(self.request_id), 0)

    def test_somebody_comes(self) -> None:
        """Not if somebody comes meanwhile who has not declined it."""
        self.sweep()
        self.add_pool("b")
        # That it came is not known yet when the sweep begins.
        self.clock.advance(INTERVAL)
        self.sweep(3)
        self.assertEqual(self.state(self.request_id), "requested")

    def test_nobody_is_there(self) -> None:
        """Not if nobody is online at all."""
        self.delete(self.pool.path)
        self.settle()
        self.sweep(5)
        self.assertEqual(self.state(self.request_id), "requested")

    def test_nobody_has_declined(self) -> None:
        """Nor one that nobody has declined."""
        request_id = self.add_request("x")
        self.sweep(5)
        self.assertEqual(self.state(request_id), "requested")

    def test_not_twice_in_a_row(self) -> None:
        """Not if there was hope in between."""
        self.sweep()
        other = self.add_pool("b")
        self.sweep()
        self.delete(other.path)
        self.sweep()
        self.assertEqual(self.state(self.request_id), "requested")
        self.sweep()
        self.assertEqual(self.state(self.request_id), "failed")

    def changes_at_the_last_moment(self, change: Callable[[str], object]) -> list[str]:
        """Two hopeless requests; when one of them is failed, something becomes of the other."""
        requests = [
            self.request_id,
            self.add_request("x", declined_by=(self.pool.id,)),
        ]
        self.settle()
        self.sweep()

        def act(call: Any) -> None:
            self.assertTrue(
                {paths.request(request_id) for request_id in requests} & set(call.paths)
            )
            (other,) = (r for r in requests if paths.request(r) not in call.paths)
            change(other)

        self.inspector.before("transaction", act, path=written, client=self.client)
        self.sweep(2)
        return requests

    def test_withdrawn_at_the_last_moment(self) -> None:
        """One that vanishes meanwhile keeps nobody from failing the other."""
        requests = self.changes_at_the_last_moment(lambda other: self.delete(paths.request(other)))
        left = [r for r in requests if self.exists(paths.request(r))]
        self.assertEqual([self.state(r) for r in left], ["failed"] * len(left))
        self.assertEqual(len(left), 1)

    def test_served_at_the_last_moment(self) -> None:
        """One that is served meanwhile stays served."""
        requests = self.changes_at_the_last_moment(
            lambda other: self.change_request(other, state=RequestState.FULFILLED)
        )
        self.assertEqual(sorted(self.state(r) for r in requests), ["failed", "fulfilled"])

    def test_locked(self) -> None:
        """One that somebody holds is not failed under their hands."""
        contender = self.lock_request(self.request_id)
        self.sweep(3)
        self.assertEqual(self.state(self.request_id), "requested")
        self.delete(contender)
        self.sweep()
        self.assertEqual(self.state(self.request_id), "failed")


class LifeTests(JanitorTestCase):
    def test_stopped(self) -> None:
        """A janitor that was stopped does nothing any more."""
        for janitor in self.janitors:
            self.done(janitor.stopService())
        request_id = self.add_request("a", state=RequestState.PENDING)
        node_id = self.add_node("a", allocated_to="100-0000009999")
        self.inspector.expire(self.client)
        self.settle()
        self.sweep(20)
        self.assertEqual(self.state(request_id), "pending")
        self.assertEqual(self.node(node_id).version, 0)

    def test_stop_waits_for_what_it_does(self) -> None:
        """Stopping waits for the change that is being made."""
        request_id = self.add_request("a", state=RequestState.PENDING)
        stopped = []
        self.inspector.before(
            "transaction",
            lambda _: stopped.append(self.janitor.stopService()),
            path=written,
            client=self.client,
        )
        self.settle()
        self.successResultOf(stopped[0])
        self.assertEqual(self.state(request_id), "requested")

    def test_stop_without_a_connection(self) -> None:
        """Nor does it hang while ZooKeeper is away."""
        self.inspector.suspend(self.client)
        self.settle()
        self.sweep()
        self.successResultOf(self.janitor.stopService())

    def test_not_current(self) -> None:
        """While the store is not current no sweep does anything."""
        node_id = self.add_node("a")
        self.settle()
        for janitor in self.janitors[1:]:
            self.done(janitor.stopService())
        self.inspector.suspend(self.client)
        self.clock.advance(5000)
        self.settle()
        self.inspector.requests.clear()
        self.sweep(3)
        self.assertEqual(self.inspector.requests, {})
        self.assertIs(self.node(node_id).state, NodeState.READY)
        self.inspector.resume(self.client)
        self.settle()
        self.sweep()
        self.assertIs(self.node(node_id).state, NodeState.DELETING)

    def test_one_duty_fails(self) -> None:
        """A duty that fails does not keep the others from being done."""
        self.config = attrs.evolve(self.config, labels=None)  # type: ignore[arg-type]
        self.add_node("a")
        path = self.inspector.create(f"{paths.NODES}/0000000100")
        self.sweep()
        self.assertGreaterEqual(len(self.flushLoggedErrors(TypeError)), 1)
        self.assertFalse(self.exists(path))

    def test_sweep_tells_when_it_was_done(self) -> None:
        """The last sweep that went well can be asked for."""
        self.assertIsNone(self.janitor.sweep.last_success)
        self.sweep(2)
        self.assertEqual(self.janitor.sweep.last_success, EPOCH + 2 * INTERVAL)

    def test_nothing_to_do(self) -> None:
        """Where all is well ZooKeeper is not even asked."""
        self.add_node("a", allocated_to=self.add_request("a", state=RequestState.FULFILLED))
        self.add_node("a")
        self.add_request("a")
        self.settle()
        self.inspector.requests.clear()
        self.sweep(5)
        self.assertEqual(self.inspector.requests, {})


class AgedNodeTestsOfTwo(AgedNodeTests):
    rivals = True


class LeftoverTestsOfTwo(LeftoverTests):
    rivals = True


class HopelessTestsOfTwo(HopelessTests):
    rivals = True
