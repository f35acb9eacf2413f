"""Lost requests, old nodes and leftovers, with one janitor, and with two."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import attrs
from kazoo.exceptions import ConnectionLoss
from twisted.trial.unittest import SynchronousTestCase

from nodepool_tx.config.frozen import FrozenMapping
from nodepool_tx.config.schema import Config, Label
from nodepool_tx.janitor import Janitor, past_hold_age, past_ready_age
from nodepool_tx.model import Node, NodeState, RequestState
from nodepool_tx.store import paths
from nodepool_tx.store.store import Store
from tests.pools.harness import EPOCH, ZookeeperTestCase, written

INTERVAL = 60.0
LOCK_AGE = 3600.0


def config_of(max_hold_age: float = math.inf, **max_ready_ages: int) -> Config:
    labels = {name: Label(name, max_ready_age=age) for name, age in max_ready_ages.items()}
    return Config(labels=FrozenMapping(labels), max_hold_age=max_hold_age)


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


class JanitorTestCase(ZookeeperTestCase):
    """Two launchers, each with a janitor; every test is run with one and with both."""

    rivals = False

    def setUp(self) -> None:
        super().setUp()
        self.config = config_of(a=1000, max_hold_age=5000)
        self.providers = ["rack"]
        self.janitors: list[Janitor] = []
        self.client = self.connected()
        self.store = self.make_store(self.client)
        self.janitor = self.make_janitor(self.store)
        if self.rivals:
            self.make_janitor(self.make_store())

    def make_janitor(self, store: Store) -> Janitor:
        janitor = Janitor(
            self.clock,
            store,
            lambda: self.config,
            lambda: self.providers,
            interval=INTERVAL,
            lock_age=LOCK_AGE,
        )
        janitor.startService()
        self.addCleanup(janitor.stopService)
        self.janitors.append(janitor)
        self.settle()
        return janitor

    def sweep(self, count: int = 1) -> None:
        self.settle()
        for _ in range(count):
            self.clock.advance(INTERVAL)
            self.settle()

    def exists(self, path: str) -> bool:
        return self.inspector.stat(path) is not None

    def written_once(self, path: str, since: int) -> None:
        """However many janitors there are, it was changed by one of them, once."""
        stat = self.inspector.stat(path)
        assert stat is not None
        self.assertEqual(stat.version, since + 1)


class LostRequestTests(JanitorTestCase):
    """Requests whose launcher is gone."""

    def pending(self, **fields: Any) -> tuple[str, str]:
        """A request in a launcher's hands, and that launcher's lock on it."""
        request_id = self.add_request("a", **fields)
        contender = self.lock_request(request_id)
        self.change_request(request_id, state=RequestState.PENDING)
        self.settle()
        return request_id, contender

    def test_launcher_dies(self) -> None:
        """A pending request is open again as soon as its launcher's lock goes."""
        request_id, _ = self.pending(declined_by=("x",), event_id="e", nodes=("0000000001",))
        self.inspector.expire(self.stranger)
        self.settle()
        request = self.request(request_id)
        self.assertEqual((request.state, request.nodes), (RequestState.REQUESTED, ()))
        self.assertEqual((request.declined_by, request.event_id), (("x",), "e"))
        self.written_once(paths.request(request_id), 1)

    def test_launcher_lives(self) -> None:
        """One whose lock is held, or waited for, is in good hands."""
        request_id, _ = self.pending()
        self.sweep(10)
        self.assertEqual(self.state(request_id), "pending")

    def test_nodes(self) -> None:
        """Its nodes go back into stock; one that was just begun is deleted.

        One that was being built is left to its provider, which removes nodes
        being built that nobody holds.
        """
        request_id, contender = self.pending()
        fields = {"allocated_to": request_id, "tenant_name": "t", "requestor": "zuul"}
        ready = self.add_node("a", **fields)
        begun = self.add_node("a", state=NodeState.INIT, provider="cloud", **fields)
        building = self.add_node("a", state=NodeState.BUILDING, provider="cloud", **fields)
        self.settle()
        self.delete(contender)
        self.settle()
        self.assertEqual(self.state(request_id), "requested")
        node = self.node(ready)
        self.assertEqual((node.state, node.allocated_to), (NodeState.READY, None))
        self.assertEqual((node.tenant_name, node.requestor), (None, None))
        self.assertIs(self.node(begun).state, NodeState.DELETING)
        self.assertIs(self.node(building).state, NodeState.BUILDING)
        self.assertEqual(self.store.nodes.usage("t").get("instances"), 2)

    def test_node_in_somebodys_hands(self) -> None:
        """As long as one of its nodes is held nothing is changed; afterwards all is."""
        request_id, contender = self.pending()
        free = self.add_node("a", allocated_to=request_id)
        held = self.add_node("a", allocated_to=request_id)
        lock = self.lock_node(held)
        self.delete(contender)
        self.settle()
        self.assertEqual(self.state(request_id), "pending")
        self.assertEqual(self.node(free).allocated_to, request_id)
        self.delete(lock)
        self.sweep()
        self.assertEqual(self.state(request_id), "requested")
        for node_id in (free, held):
            self.assertIsNone(self.node(node_id).allocated_to)

    def test_fulfilled_then_unlocked(self) -> None:
        """A launcher that fulfils a request and then lets it go is never taken for dead.

        That is Nodepool 11's order; its lock is seen to go before its last
        write is read.
        """
        for _ in range(20):
            request_id, contender = self.pending()
            self.change_request(request_id, state=RequestState.FULFILLED, nodes=("0000000001",))
            self.delete(contender)
            self.settle()
            self.assertEqual(self.state(request_id), "fulfilled")
            self.assertEqual(self.request(request_id).version, 2)

    def test_fulfilled_at_the_last_moment(self) -> None:
        """Nor is one that writes at the very moment at which it is taken for dead."""
        request_id, contender = self.pending()
        self.inspector.before(
            "transaction",
            lambda _: self.change_request(request_id, state=RequestState.FULFILLED),
            path=paths.request(request_id),
        )
        self.delete(contender)
        self.settle()
        self.sweep()
        self.assertEqual(self.state(request_id), "fulfilled")

    def test_taken_over_at_the_last_moment(self) -> None:
        """Nor is one that another launcher locks just then."""
        request_id, contender = self.pending()
        self.inspector.before(
            "transaction",
            lambda _: self.lock_request(request_id),
            path=paths.request(request_id),
        )
        self.delete(contender)
        self.settle()
        self.sweep(3)
        self.assertEqual(self.state(request_id), "pending")

    def test_withdrawn_at_the_last_moment(self) -> None:
        """A request that vanishes just then is not brought back, and its nodes are freed."""
        request_id, contender = self.pending()
        node_id = self.add_node("a", allocated_to=request_id)
        self.inspector.before(
            "transaction",
            lambda _: self.delete(paths.request(request_id)),
            path=paths.request(request_id),
        )
        self.delete(contender)
        self.settle()
        self.assertFalse(self.exists(paths.request(request_id)))
        self.assertIsNone(self.node(node_id).allocated_to)

    def test_found_at_the_start(self) -> None:
        """What was lost while no launcher ran is found when one starts."""
        request_id = self.add_request("a", state=RequestState.PENDING)
        for janitor in self.janitors:
            self.done(janitor.stopService())
        lost = self.add_request("a", state=RequestState.PENDING)
        self.settle()
        self.assertEqual(self.state(lost), "pending")
        self.make_janitor(self.store)
        self.assertEqual(self.state(lost), "requested")
        self.assertEqual(self.state(request_id), "requested")

    def test_found_after_a_lost_connection(self) -> None:
        """What was lost while ZooKeeper was away is found when it is back."""
        self.inspector.suspend(self.client)
        self.settle()
        request_id = self.add_request("a", state=RequestState.PENDING)
        node_id = self.add_node("a", allocated_to="100-0000009999")
        self.settle()
        self.inspector.resume(self.client)
        self.settle()
        self.assertEqual(self.state(request_id), "requested")
        self.assertIsNone(self.node(node_id).allocated_to)

    def test_connection_breaks_meanwhile(self) -> None:
        """Whether the change happened or not when the answer is lost, it is made once."""
        for stage in (
            lambda: self.inspector.fail_next(
                "transaction", ConnectionLoss(), path=written, client=self.client
            ),
            lambda: self.inspector.lose_reply_next("transaction", path=written, client=self.client),
            lambda: self.inspector.fail_next(
                "transaction", ConnectionLoss(), path="/", client=self.client
            ),
        ):
            call_off = stage()
            request_id, contender = self.pending()
            self.delete(contender)
            self.settle()
            call_off()
            self.assertEqual(self.state(request_id), "requested")
            self.written_once(paths.request(request_id), 1)

    def test_other_states(self) -> None:
        """Only pending requests can be lost."""
        ids = [
            self.add_request("a", state=state)
            for state in RequestState
            if state is not RequestState.PENDING
        ]
        self.sweep(3)
        for request_id in ids:
            self.assertEqual(self.request(request_id).version, 0)


class DesertedNodeTests(JanitorTestCase):
    """Nodes that are promised to a request which is gone."""

    def promised(self, request_id: str, **fields: Any) -> str:
        node_id = self.add_node(
            "x", allocated_to=request_id, tenant_name="t", requestor="zuul", comment="c", **fields
        )
        self.settle()
        return node_id

    def assert_in_stock(self, node_id: str) -> None:
        node = self.node(node_id)
        self.assertEqual((node.state, node.allocated_to), (NodeState.READY, None))
        self.assertEqual((node.tenant_name, node.requestor, node.comment), (None, None, "c"))

    def test_request_is_withdrawn(self) -> None:
        """They go back into stock as soon as the request goes."""
        request_id = self.add_request("x", state=RequestState.FULFILLED)
        nodes = [self.promised(request_id) for _ in range(3)]
        self.delete(paths.request(request_id))
        self.settle()
        for node_id in nodes:
            self.assert_in_stock(node_id)
            self.written_once(paths.node(node_id), 0)

    def test_request_never_was(self) -> None:
        """So does one that names a request of which there is no trace."""
        for name in ("100-0000009999", "nonsense", "a/b", "\ud800"):
            self.assert_in_stock(self.promised(name))

    def test_client_takes_it(self) -> None:
        """A node that a client holds is the client's, though the request is gone."""
        request_id = self.add_request("x", state=RequestState.FULFILLED)
        node_id = self.promised(request_id)
        contender = self.lock_node(node_id)
        self.delete(paths.request(request_id))
        self.settle()
        self.sweep(3)
        self.assertEqual(self.node(node_id).allocated_to, request_id)
        self.change_node(node_id, state=NodeState.IN_USE)
        self.delete(contender)
        self.settle()
        self.sweep(3)
        self.assertIs(self.node(node_id).state, NodeState.IN_USE)
        self.assertEqual(self.node(node_id).allocated_to, request_id)

    def test_client_returns_it_unused(self) -> None:
        """One that a client lets go unused goes back into stock at once."""
        request_id = self.add_request("x", state=RequestState.FULFILLED)
        node_id = self.promised(request_id)
        contender = self.lock_node(node_id)
        self.delete(paths.request(request_id))
        self.settle()
        self.delete(contender)
        self.settle()
        self.assert_in_stock(node_id)

    def test_client_takes_it_at_the_last_moment(self) -> None:
        """One that a client takes at the very moment is left to it."""
        node_id = ""
        self.inspector.before(
            "transaction",
            lambda _: self.lock(f"{paths.NODES}/0000000000/lock"),
            path=written,
        )
        node_id = self.promised("100-0000009999")
        self.assertEqual(node_id, "0000000000")
        self.sweep(2)
        self.assertEqual(self.node(node_id).allocated_to, "100-0000009999")

    def test_request_that_cannot_be_read(self) -> None:
        """A request that makes no sense still is one: its nodes stay promised."""
        request_id = self.add_request("x", state=RequestState.FULFILLED)
        node_id = self.promised(request_id)
        self.inspector.set(paths.request(request_id), b"rubbish")
        self.settle()
        self.sweep(3)
        self.assertEqual(self.node(node_id).allocated_to, request_id)
        self.delete(paths.request(request_id))
        self.settle()
        self.assert_in_stock(node_id)

    def test_other_states(self) -> None:
        """Nodes that are not ready are their provider's concern."""
        states = [state for state in NodeState if state is not NodeState.READY]
        nodes = [self.promised("100-0000009999", state=state) for state in states]
        self.sweep(3)
        for node_id in nodes:
            self.assertEqual(self.node(node_id).version, 0)

    def test_provider_that_is_given_up(self) -> None:
        """Of providers that are not configured here, too: nobody else might do it."""
        self.assert_in_stock(self.promised("100-0000009999", provider="gone"))

    def test_request_comes_before_its_nodes_do(self) -> None:
        """A request is known before a node is promised to it, in whatever order they are read."""
        for _ in range(10):
            request_id = self.add_request("x", state=RequestState.FULFILLED)
            node_id = self.promised(request_id)
            self.assertEqual(self.node(node_id).version, 0)

    def test_event_that_was_missed(self) -> None:
        """A sweep finds what an event should have told."""
        node_id = self.promised("100-0000009999")
        self.assert_in_stock(node_id)
        self.inspector.before(
            "transaction",
            lambda _: self.change_node(node_id, comment="c", user_data="x"),
            path=written,
            times=len(self.janitors),
        )
        self.change_node(node_id, allocated_to="100-0000009998", tenant_name="t")
        self.settle()
        self.sweep()
        self.assert_in_stock(node_id)


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


class LostRequestTestsOfTwo(LostRequestTests):
    rivals = True


class DesertedNodeTestsOfTwo(DesertedNodeTests):
    rivals = True


class AgedNodeTestsOfTwo(AgedNodeTests):
    rivals = True


class LeftoverTestsOfTwo(LeftoverTests):
    rivals = True


class HopelessTestsOfTwo(HopelessTests):
    rivals = True
