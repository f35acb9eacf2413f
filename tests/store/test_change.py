"""Changes of nodes and requests: all or nothing, and never under somebody's lock."""

from __future__ import annotations

import gc
import weakref

import attrs
from kazoo.exceptions import ConnectionLoss, NoAuthError
from twisted.internet.defer import Deferred

from nodepool_tx.model import IllegalTransition, Node, NodeState, RequestState
from nodepool_tx.store import paths
from nodepool_tx.store.change import Conflict, Locked, Moved, Uncertain, Vanished
from nodepool_tx.testing.zookeeper import ServerCall
from nodepool_tx.txzookeeper.interface import SessionState, TransactionFailed
from nodepool_tx.txzookeeper.lock import Lock
from tests.store.harness import StoreTestCase, ready_node, waiting_request


class ChangeTestCase(StoreTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.node = self.put_node(ready_node())
        self.lock_path = paths.node_lock(self.node.id)
        self.promised = attrs.evolve(self.node, allocated_to="200-0000000001")

    def just_before(self, action: object) -> None:
        """Have something happen between our sending a transaction and its execution."""

        def act(call: ServerCall) -> None:
            action()  # type: ignore[operator]

        self.inspector.before("transaction", act, client=self.client)

    async def promise(self, lock: Lock | None = None) -> None:
        change = self.store.change()
        change.update_node(self.node, self.promised, lock)
        await change.commit()

    async def remove(self, lock: Lock | None = None) -> None:
        change = self.store.change()
        change.remove_node(self.node, lock)
        await change.commit()

    def assert_untouched(self) -> None:
        self.assertEqual(self.node_there(self.node.id), self.node)


class UpdateTests(ChangeTestCase):
    """Writing a node."""

    def test_a_node_that_was_never_locked(self) -> None:
        """It is written, and leaves a lock directory nobody minds."""
        self.assertFalse(self.exists(self.lock_path))
        self.run_until_done(self.promise())
        self.assertEqual(self.node_there(self.node.id), self.promised)

    def test_a_node_that_was_locked_once(self) -> None:
        """Its lock directory stays."""
        self.inspector.create(self.lock_path)
        self.settle()
        self.run_until_done(self.promise())
        self.assertEqual(self.node_there(self.node.id), self.promised)
        self.assertTrue(self.exists(self.lock_path))

    def test_the_table_shows_it_when_the_answer_is_there(self) -> None:
        """Before any event was read: whoever goes on does not see the old state."""
        seen = []

        async def promise_and_look() -> None:
            await self.promise()
            node = self.known_node(self.node.id)
            seen.append((node.allocated_to, node.version, self.nodes.is_free(node.id)))

        self.run_until_done(promise_and_look())
        self.assertEqual(seen, [("200-0000000001", 1, False)])

    def test_it_is_one_round_trip(self) -> None:
        """One request, whether or not there is a lock directory."""
        for _ in range(2):
            self.inspector.requests.clear()
            self.run_until_done(self.promise())
            self.assertEqual(self.inspector.requests["transaction"], 1)
            self.node = self.known_node(self.node.id)

    def test_a_locked_node_is_left_alone(self) -> None:
        """Whether the table knows of the lock or not."""
        self.lock_node(self.node.id)
        conflict = self.failure_of(self.promise(), Locked)
        self.assertEqual((conflict.what, conflict.id), ("node", self.node.id))
        self.assertIn(self.node.id, str(conflict))
        self.assert_untouched()
        self.settle()
        self.failure_of(self.promise(), Locked)
        self.assert_untouched()

    def test_a_node_locked_in_the_last_moment(self) -> None:
        """First lock ever, or one more of many."""
        self.just_before(lambda: self.lock_node(self.node.id))
        self.failure_of(self.promise(), Locked)
        self.assert_untouched()

    def test_somebody_who_waits_for_the_lock_counts(self) -> None:
        """It is theirs before it is ours."""
        first = self.lock_node(self.node.id)
        self.lock_node(self.node.id)
        self.settle()
        self.just_before(lambda: self.inspector.delete(first))
        self.failure_of(self.promise(), Locked)
        self.assert_untouched()

    def test_a_node_written_in_the_last_moment(self) -> None:
        """What the other wrote stands."""
        path = paths.node(self.node.id)
        self.just_before(lambda: self.inspector.set(path, b'{"state": "hold"}'))
        self.failure_of(self.promise(), Moved)
        there = self.node_there(self.node.id)
        assert there is not None
        self.assertIs(there.state, NodeState.HOLD)

    def test_a_lost_race_leaves_no_garbage(self) -> None:
        """What was to be written goes with the answer, and not when garbage is collected."""
        change = self.store.change()
        change.update_node(self.node, self.promised)
        gone = weakref.ref(change)
        path = paths.node(self.node.id)
        self.just_before(lambda: self.inspector.set(path, b'{"state": "hold"}'))
        gc.disable()
        self.addCleanup(gc.enable)
        committing = Deferred.fromCoroutine(change.commit())
        del change
        self.settle()
        self.failureResultOf(committing, Moved)
        del committing
        self.assertIsNone(gone())

    def test_a_node_that_is_gone(self) -> None:
        """With or without a lock directory, and however we come to know."""
        for known in (False, True):
            self.setUp()
            if known:
                self.inspector.create(self.lock_path)
                self.settle()
            self.just_before(lambda: self.inspector.delete_tree(paths.node(self.node.id)))
            conflict = self.failure_of(self.promise(), Vanished)
            self.assertIsInstance(conflict, Conflict)
            self.assertIsNone(self.node_there(self.node.id))
            if not known:
                self.tearDown()

    def test_a_lock_directory_made_in_the_last_moment(self) -> None:
        """Empty, it proves that nobody holds the lock; the change goes through."""
        self.just_before(lambda: self.inspector.create(self.lock_path))
        self.run_until_done(self.promise())
        self.assertEqual(self.node_there(self.node.id), self.promised)

    def test_a_lock_directory_removed_in_the_last_moment(self) -> None:
        """What we believed of it is corrected."""
        self.inspector.create(self.lock_path)
        self.settle()
        self.just_before(lambda: self.inspector.delete(self.lock_path))
        self.run_until_done(self.promise())
        self.assertEqual(self.node_there(self.node.id), self.promised)

    def test_a_lock_directory_that_comes_and_goes(self) -> None:
        """There is an end to the attempts, and it is a conflict."""

        def flip(call: ServerCall) -> None:
            if self.exists(self.lock_path):
                self.inspector.delete(self.lock_path)
            else:
                self.inspector.create(self.lock_path)

        self.inspector.before("transaction", flip, client=self.client, times=None)
        self.failure_of(self.promise(), Conflict)
        self.assert_untouched()
        self.assertLess(self.inspector.requests["transaction"], 10)

    def test_states_go_only_where_they_lead(self) -> None:
        """A step that no node takes is refused before anything is sent."""
        change = self.store.change()
        with self.assertRaises(IllegalTransition):
            change.update_node(self.node, attrs.evolve(self.node, state=NodeState.BUILDING))
        self.inspector.requests.clear()
        self.assertEqual(self.run_until_done(change.commit()), ())
        self.assertEqual(self.inspector.requests["transaction"], 0)


class RemovalTests(ChangeTestCase):
    """Removing a node."""

    def test_it_goes_with_its_lock_directory(self) -> None:
        """Or without, if it has none."""
        for made in (False, True):
            self.setUp()
            if made:
                self.inspector.create(self.lock_path)
                self.settle()
            self.run_until_done(self.remove())
            self.assertEqual(self.inspector.dump(paths.node(self.node.id)), {})
            self.assertIsNone(self.nodes.get(self.node.id))
            if not made:
                self.tearDown()

    def test_a_lock_directory_nobody_knew_of(self) -> None:
        """It goes too."""
        self.just_before(lambda: self.inspector.create(self.lock_path))
        self.run_until_done(self.remove())
        self.assertEqual(self.inspector.dump(paths.node(self.node.id)), {})

    def test_a_locked_node_stays(self) -> None:
        """Whether its lock is known or taken in the last moment."""
        self.just_before(lambda: self.lock_node(self.node.id))
        self.failure_of(self.remove(), Locked)
        self.assert_untouched()
        self.settle()
        self.failure_of(self.remove(), Locked)
        self.assert_untouched()

    def test_a_node_written_in_the_last_moment_stays(self) -> None:
        """What was read is not what would be removed."""
        path = paths.node(self.node.id)
        self.just_before(lambda: self.inspector.set(path, b'{"state": "hold"}'))
        self.failure_of(self.remove(), Moved)
        self.assertTrue(self.exists(path))

    def test_a_node_that_is_gone_already(self) -> None:
        """Said, as somebody may want to know who removed it."""
        self.just_before(lambda: self.inspector.delete_tree(paths.node(self.node.id)))
        self.failure_of(self.remove(), Vanished)


class CreationTests(ChangeTestCase):
    """New nodes."""

    def test_ids_are_in_the_order_asked(self) -> None:
        """The server chooses them."""

        async def create() -> tuple[str, ...]:
            change = self.store.change()
            for label in ("a", "b", "c"):
                change.create_node(ready_node(label))
            return await change.commit()

        ids = self.run_until_done(create())
        self.assertEqual(ids, ("0000000001", "0000000002", "0000000003"))
        labels = [self.known_node(node_id).type for node_id in ids]
        self.assertEqual(labels, [("a",), ("b",), ("c",)])

    def test_the_table_shows_them_when_the_answer_is_there(self) -> None:
        """Nobody has to read them; they look as if somebody had."""
        new = ready_node(
            "a",
            "b",
            host_keys=("ssh-ed25519 A",),
            attributes={"zone": "b"},
            resources={"cores": 2},
            extra={"later": [1]},
        )
        self.inspector.requests.clear()

        async def create_and_look() -> Node:
            change = self.store.change()
            change.create_node(new)
            (node_id,) = await change.commit()
            return self.known_node(node_id)

        shown = self.run_until_done(create_and_look())
        self.settle()
        self.assertEqual(self.inspector.requests, {"transaction": 1})
        self.assertEqual(shown, self.node_there(shown.id))
        self.assertEqual(shown, attrs.evolve(new, id=shown.id))
        self.assertEqual(self.nodes.free_nodes("rack", "main", "b", 5), [shown])

    def test_a_created_node_can_be_changed_at_once(self) -> None:
        """Its version is known."""

        async def create_and_change() -> str:
            change = self.store.change()
            change.create_node(ready_node())
            (node_id,) = await change.commit()
            node = self.known_node(node_id)
            change = self.store.change()
            change.update_node(node, attrs.evolve(node, comment="new"))
            await change.commit()
            return node_id

        node_id = self.run_until_done(create_and_change())
        self.assertEqual(self.known_node(node_id).comment, "new")
        self.assertEqual(self.known_node(node_id).version, 1)

    def test_replacing_is_one_step(self) -> None:
        """Nobody sees both nodes, or none."""
        seen: list[int] = []

        def count(change: object) -> None:
            seen.append(sum(1 for node in self.inspector.dump(paths.NODES)) - 1)

        self.inspector.after("*", count, times=None)

        async def replace() -> tuple[str, ...]:
            change = self.store.change()
            change.remove_node(self.node)
            change.create_node(ready_node("new"))
            return await change.commit()

        (new_id,) = self.run_until_done(replace())
        self.assertEqual(self.known_node(new_id).type, ("new",))
        self.assertIsNone(self.nodes.get(self.node.id))
        self.assertEqual(set(seen), {1})

    def test_nowhere_to_create_it(self) -> None:
        """Somebody has removed all nodes, and what they stood below."""
        self.inspector.delete_tree(paths.NODES)
        change = self.store.change()
        change.create_node(ready_node())
        refusal = self.failure_of(change.commit(), Vanished)
        self.assertEqual(str(refusal), "directory /nodepool/nodes is gone")

    def test_another_refusal_of_a_creation_is_no_conflict(self) -> None:
        """Nobody else was faster; something is wrong."""
        self.inspector.fail_next("transaction", TransactionFailed(0, "create", NoAuthError()))
        change = self.store.change()
        change.create_node(ready_node())
        refusal = self.failure_of(change.commit(), TransactionFailed)
        self.assertIsInstance(refusal.error, NoAuthError)


class RequestTests(ChangeTestCase):
    """Writing a request, with the nodes promised to it."""

    def setUp(self) -> None:
        super().setUp()
        self.request = self.put_request(waiting_request())
        self.request_lock = paths.request_lock(self.request.id)
        self.fulfilled = self.request.in_state(RequestState.FULFILLED, 5.0, nodes=(self.node.id,))

    async def fulfil(self, lock: Lock | None = None) -> None:
        change = self.store.change()
        change.update_node(self.node, self.promised)
        change.update_request(self.request, self.fulfilled, lock)
        await change.commit()

    def assert_nothing_happened(self) -> None:
        self.assert_untouched()
        self.assertEqual(self.request_there(self.request.id), self.request)

    def test_both_are_written_together(self) -> None:
        """And the request, never locked, gets no lock directory that would outlive it."""
        self.run_until_done(self.fulfil())
        self.assertEqual(self.node_there(self.node.id), self.promised)
        self.assertEqual(self.request_there(self.request.id), self.fulfilled)
        self.assertFalse(self.exists(self.request_lock))
        shown = self.requests.get(self.request.id)
        self.assertEqual(shown, self.fulfilled)

    def test_a_lock_directory_of_the_request_goes(self) -> None:
        """Whether we knew of it or not."""
        self.just_before(lambda: self.inspector.create(self.request_lock))
        self.run_until_done(self.fulfil())
        self.assertEqual(self.request_there(self.request.id), self.fulfilled)
        self.assertFalse(self.exists(self.request_lock))

    def test_a_locked_request_leaves_the_node_free(self) -> None:
        """Zuul sets a priority under that lock: nothing is half done."""
        self.just_before(lambda: self.lock_request(self.request.id))
        conflict = self.failure_of(self.fulfil(), Locked)
        self.assertEqual((conflict.what, conflict.id), ("request", self.request.id))
        self.assert_nothing_happened()
        self.settle()
        self.failure_of(self.fulfil(), Locked)
        self.assert_nothing_happened()

    def test_a_request_written_in_the_last_moment(self) -> None:
        """Its new priority is not lost."""
        path = paths.request(self.request.id)
        data = self.inspector.dump(path)[path]
        self.just_before(lambda: self.inspector.set(path, data))
        conflict = self.failure_of(self.fulfil(), Moved)
        self.assertEqual(conflict.what, "request")
        self.assert_nothing_happened()

    def test_a_request_cancelled_in_the_last_moment(self) -> None:
        """No node is promised to nobody."""
        self.just_before(lambda: self.inspector.delete(paths.request(self.request.id)))
        conflict = self.failure_of(self.fulfil(), Vanished)
        self.assertEqual(conflict.what, "request")
        self.assert_untouched()
        self.assertFalse(self.exists(self.request_lock))

    def test_a_node_taken_in_the_last_moment_leaves_the_request_open(self) -> None:
        """And it is said which of the two was the reason."""
        self.just_before(lambda: self.lock_node(self.node.id))
        conflict = self.failure_of(self.fulfil(), Locked)
        self.assertEqual((conflict.what, conflict.id), ("node", self.node.id))
        self.assert_nothing_happened()

    def test_wrong_beliefs_of_both_lock_directories_are_corrected(self) -> None:
        """Each costs one more round trip."""

        def make_both() -> None:
            self.inspector.create(self.lock_path)
            self.inspector.create(self.request_lock)

        self.just_before(make_both)
        self.run_until_done(self.fulfil())
        self.assertEqual(self.node_there(self.node.id), self.promised)
        self.assertEqual(self.request_there(self.request.id), self.fulfilled)

    def test_many_nodes_or_none(self) -> None:
        """Of a hundred nodes one is locked: none is promised."""
        nodes = [self.put_node(ready_node()) for _ in range(100)]
        victim = nodes[57]
        self.just_before(lambda: self.lock_node(victim.id))

        async def promise_all() -> None:
            change = self.store.change()
            for node in nodes:
                change.update_node(node, attrs.evolve(node, allocated_to=self.request.id))
            change.update_request(self.request, self.fulfilled)
            await change.commit()

        conflict = self.failure_of(promise_all(), Locked)
        self.assertEqual(conflict.id, victim.id)
        self.assertEqual([self.node_there(node.id) for node in nodes], nodes)


class HeldLockTests(ChangeTestCase):
    """Changes under a lock of our own."""

    def setUp(self) -> None:
        super().setUp()
        self.lock = Lock(self.client, self.lock_path, "test")
        taken = self.lock.try_acquire()
        self.settle()
        self.assertIsNotNone(self.successResultOf(taken))

    def tearDown(self) -> None:
        if self.client.state is SessionState.CONNECTED:
            self.lock.release()
            self.settle()
        super().tearDown()

    def test_the_holder_may_write(self) -> None:
        """And keeps the lock."""
        self.run_until_done(self.promise(self.lock))
        self.assertEqual(self.node_there(self.node.id), self.promised)
        self.assertTrue(self.lock.held)

    def test_nobody_else_may(self) -> None:
        """Not even we, without naming the lock."""
        self.failure_of(self.promise(), Locked)
        self.assert_untouched()

    def test_a_lock_that_was_lost_fences_the_write(self) -> None:
        """Its contender is gone, so the write does not land."""
        contender = self.lock.contender
        assert contender is not None
        self.just_before(lambda: self.inspector.delete(contender))
        self.failure_of(self.promise(self.lock), Locked)
        self.assert_untouched()

    def test_the_holder_may_remove_the_node(self) -> None:
        """The lock goes with it and is given up."""
        self.run_until_done(self.remove(self.lock))
        self.assertEqual(self.inspector.dump(paths.node(self.node.id)), {})
        self.assertFalse(self.lock.held)

    def test_who_waits_for_the_lock_keeps_the_node_alive(self) -> None:
        """They will find out for themselves what to do with it."""
        self.lock_node(self.node.id)
        self.failure_of(self.remove(self.lock), Locked)
        self.assert_untouched()
        self.assertTrue(self.lock.held)

    def test_a_lost_lock_fences_the_removal(self) -> None:
        """Somebody else may hold it by now."""
        contender = self.lock.contender
        assert contender is not None

        def hand_over() -> None:
            self.inspector.delete(contender)
            self.lock_node(self.node.id)

        self.just_before(hand_over)
        self.failure_of(self.remove(self.lock), Locked)
        self.assert_untouched()


class UncertaintyTests(ChangeTestCase):
    """The connection breaks."""

    def test_a_lost_request(self) -> None:
        """Nothing happened, and that is not known."""
        self.inspector.fail_next("transaction", ConnectionLoss(), client=self.client)
        self.failure_of(self.promise(), Uncertain)
        self.assert_untouched()

    def test_a_lost_answer(self) -> None:
        """All of it happened, and the store shows it when it is current again."""
        self.inspector.lose_reply_next("transaction", client=self.client)
        self.failure_of(self.promise(), Uncertain)
        self.assertEqual(self.node_there(self.node.id), self.promised)
        self.assertTrue(self.store.current)
        self.assertEqual(self.known_node(self.node.id), self.promised)

    def test_no_connection_at_all(self) -> None:
        """The answer is the same, at once."""
        self.inspector.suspend(self.client)
        change = self.store.change()
        change.update_node(self.node, self.promised)
        self.failureResultOf(Deferred.fromCoroutine(change.commit()), Uncertain)

    def test_an_expired_session(self) -> None:
        """As good as a lost connection."""
        self.just_before(lambda: self.inspector.expire(self.client))
        self.failure_of(self.promise(), Uncertain)
        self.assert_untouched()
