"""Writing records under a node's lock, whatever happens to the connection meanwhile."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any

import attrs
from twisted.internet.defer import Deferred

from nodepool_tx.model import Node, NodeState
from nodepool_tx.providers.cloud.holding import Hold, NodeGone, NotHeld
from nodepool_tx.store import paths
from nodepool_tx.testing.zookeeper import ServerCall
from tests.providers.cloud.world import World, WorldTestCase, cloud_provider


def commented(text: str) -> Any:
    """A change that writes a comment."""
    return lambda node: attrs.evolve(node, comment=text)


class HoldTests(WorldTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.launcher = self.world.launcher()
        node = Node(state=NodeState.BUILDING, provider="cloud", pool="main", type=("small",))
        self.node_id = self.world.put_node(node)
        self.world.settle()
        self.hold = Hold(self.launcher.store, self.node_id, "me")
        self.addCleanup(self.let_go)

    def let_go(self) -> None:
        self.run_now(self.hold.release())

    def run_now(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        deferred = Deferred.fromCoroutine(coroutine)
        self.world.settle()
        return self.successResultOf(deferred)

    def failure_of(self, coroutine: Coroutine[Any, Any, Any], *errors: type[Exception]) -> None:
        deferred = Deferred.fromCoroutine(coroutine)
        self.world.settle()
        self.failureResultOf(deferred, *errors)

    def take(self) -> None:
        self.assertIsNotNone(self.run_now(self.hold.take()))

    def test_taken(self) -> None:
        """Taking a node brings its record; others see who has it."""
        node = self.run_now(self.hold.take())
        self.assertEqual((node.id, node.state), (self.node_id, NodeState.BUILDING))
        held = self.world.inspector.dump(f"{paths.node_lock(self.node_id)}/")
        self.assertEqual(list(held.values()), [b"me"])

    def test_not_taken(self) -> None:
        """A node that somebody has, that is gone, or makes no sense cannot be taken."""
        self.world.lock(self.node_id)
        self.assertIsNone(self.run_now(self.hold.take()))
        self.world.unlock(self.node_id)
        self.world.inspector.set(paths.node(self.node_id), b"{")
        self.assertIsNone(self.run_now(self.hold.take()))
        self.assertFalse(self.world.locked(self.node_id))
        self.world.inspector.delete_tree(paths.node(self.node_id))
        self.assertIsNone(self.run_now(self.hold.take()))
        self.assertEqual(self.world.inspector.dump(paths.node(self.node_id)), {})

    def test_latest_record(self) -> None:
        """A write starts from what others have written meanwhile, seen here or not."""
        self.take()
        self.world.change_node(self.node_id, allocated_to="200-1")
        self.run_now(self.hold.write(commented("mine")))
        node = self.world.node(self.node_id)
        self.assertEqual((node.allocated_to, node.comment), ("200-1", "mine"))

    def test_release_with_the_write(self) -> None:
        """The lock is given up in the step that writes, and that is no loss."""
        self.take()
        lost: list[bool] = []
        self.hold.when_lost(lambda: lost.append(True))
        self.run_now(self.hold.write(commented("done"), release=True))
        self.assertEqual(self.world.node(self.node_id).comment, "done")
        self.assertFalse(self.world.locked(self.node_id))
        self.assertEqual((lost, self.hold.lost), ([], False))

    def test_lost_answers(self) -> None:
        """A write whose answer is lost is made once, with and without giving the lock up."""
        for release in (False, True):
            for executed in (False, True):
                if not self.hold.lock.held:
                    self.take()
                text = f"{release} {executed}"
                if executed:
                    self.world.inspector.lose_reply_next("transaction")
                else:
                    self.cut_before_next()
                self.run_now(self.hold.write(commented(text), release=release))
                self.assertEqual(self.world.node(self.node_id).comment, text)
                self.assertEqual(self.world.locked(self.node_id), not release)
                self.assertFalse(self.hold.lost)

    def cut_before_next(self) -> None:
        def cut(call: ServerCall) -> None:
            self.world.inspector.cut(self.launcher.client)

        self.world.inspector.before("transaction", cut)

    def test_lock_lost(self) -> None:
        """Nothing is written when the lock was taken from us, and that is told."""
        self.take()
        lost: list[bool] = []
        self.hold.when_lost(lambda: lost.append(True))
        (contender,) = self.world.inspector.dump(f"{paths.node_lock(self.node_id)}/")
        self.world.inspector.delete(contender)
        self.failure_of(self.hold.write(commented("mine")), NotHeld)
        self.assertIsNone(self.world.node(self.node_id).comment)
        self.assertEqual((lost, self.hold.lost), ([True], True))

    def test_session_lost(self) -> None:
        """A session that ends takes the lock along."""
        self.take()
        self.world.inspector.expire(self.launcher.client)
        self.world.settle()
        self.assertTrue(self.hold.lost)
        self.failure_of(self.hold.write(commented("mine")), NotHeld)

    def test_node_gone(self) -> None:
        """A node that is gone is not written."""
        self.take()
        self.world.inspector.delete_tree(paths.node(self.node_id))
        self.failure_of(self.hold.write(commented("mine")), NodeGone)
        self.failure_of(self.hold.write(commented("mine"), release=True), NodeGone)
        self.run_now(self.hold.remove())

    def test_removed(self) -> None:
        """Removing takes the record and the lock, in one step."""
        self.take()
        self.run_now(self.hold.remove())
        self.assertEqual(self.world.inspector.dump(paths.node(self.node_id)), {})
        self.assertFalse(self.hold.lost)

    def test_removed_without_an_answer(self) -> None:
        """A removal whose answer is lost is made once."""
        self.take()
        self.world.inspector.lose_reply_next("transaction")
        self.run_now(self.hold.remove())
        self.assertEqual(self.world.inspector.dump(paths.node(self.node_id)), {})

    def test_removed_while_others_wait(self) -> None:
        """A removal waits for those who wait for the lock, so that nobody is in the way."""
        self.take()
        self.world.lock(self.node_id)
        removing = Deferred.fromCoroutine(self.hold.remove())
        self.world.wait(3)
        self.assertNoResult(removing)
        self.world.unlock(self.node_id)
        self.world.wait(2)
        self.successResultOf(removing)

    def test_not_removed_by_others(self) -> None:
        """A node that is not ours any more is not removed."""
        self.take()
        (contender,) = self.world.inspector.dump(f"{paths.node_lock(self.node_id)}/")
        self.world.inspector.delete(contender)
        self.failure_of(self.hold.remove(), NotHeld)
        self.assertIn(self.node_id, self.world.nodes())

    def test_waits_for_a_connection(self) -> None:
        """Without a connection a node is taken, and written, as soon as there is one."""
        self.world.inspector.suspend(self.launcher.client)
        self.world.settle()
        taking = Deferred.fromCoroutine(self.hold.take())
        self.world.settle()
        self.assertNoResult(taking)
        self.world.inspector.resume(self.launcher.client)
        self.world.settle()
        self.assertIsNotNone(self.successResultOf(taking))
        self.world.inspector.suspend(self.launcher.client)
        self.world.settle()
        writing = Deferred.fromCoroutine(self.hold.write(commented("late")))
        self.world.wait(2)
        self.assertNoResult(writing)
        self.world.inspector.resume(self.launcher.client)
        self.world.settle()
        self.successResultOf(writing)
        self.assertEqual(self.world.node(self.node_id).comment, "late")


class EveryAnswer(WorldTestCase):
    """Whichever answer of ZooKeeper is lost, a node is made once, and removed once."""

    def outcome(self, number: int, executed: bool) -> tuple[bool, World]:
        """Lose one of the answers in a node's life; whether there was such an answer."""
        self.world.close()
        self.world = world = self.make_world()
        launcher = world.launcher()
        service = launcher.provide(cloud_provider())
        world.wait(10)
        seen = [0]

        def lose(call: ServerCall) -> None:
            seen[0] += 1
            if seen[0] == number:
                world.inspector.cut(launcher.client)

        stage = world.inspector.after if executed else world.inspector.before
        stage("*", lose, client=launcher.client, times=None)
        node_id = world.order(service)
        world.wait(60)
        self.assertEqual(world.node(node_id).state, NodeState.READY, (number, executed))
        self.assertEqual(world.cloud.made, 1, (number, executed))
        self.assertFalse(world.locked(node_id), (number, executed))
        world.use(node_id)
        world.give_back(node_id)
        world.wait(60)
        self.assertEqual(world.nodes(), {}, (number, executed))
        self.assertEqual(dict(world.cloud.servers), {}, (number, executed))
        self.assertEqual(world.failures, [])
        return seen[0] >= number, world

    def test_each(self) -> None:
        """It does not matter which of the answers it is, nor whether it was carried out."""
        for executed in (False, True):
            number = 1
            while self.outcome(number, executed)[0]:
                number += 1
                stopped = self.world.launchers.pop().stop()
                self.world.settle()
                self.successResultOf(stopped)
            self.assertGreater(number, 20)
