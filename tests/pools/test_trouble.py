"""Nodes that are not fit, connections that break, and launchers beside each other."""

from __future__ import annotations

from collections.abc import Callable

from kazoo.exceptions import ConnectionLoss, SessionExpiredError

from nodepool_tx.store import paths
from nodepool_tx.txzookeeper.interface import SessionState
from tests.pools.harness import PoolTestCase, ScriptedSource

Action = Callable[[], object]


class CheckTests(PoolTestCase):
    """Nodes that turn out not to be fit."""

    def test_dead_node(self) -> None:
        """When a node is found dead another one is used at once."""
        dead, alive = self.add_node("a"), self.add_node("a")
        self.source.make_unfit(dead)
        request_id = self.add_request("a")
        self.settle()
        self.assert_served(request_id, alive)
        self.assertEqual(self.source.asked, [dead, alive])

    def test_slow_check_holds_up_nobody(self) -> None:
        """While one node is checked, everyone else is served from the others."""
        self.source.hold()
        slow = self.add_node("a")
        first = self.add_request("a")
        self.settle()
        others = [self.add_node("a") for _ in range(3)]
        requests = [self.add_request("a") for _ in range(3)]
        self.settle()
        for node_id in others:
            self.source.answer(node_id)
        self.settle()
        for request_id, node_id in zip(requests, others, strict=True):
            self.assert_served(request_id, node_id)
        self.assert_waits(first)
        self.source.make_unfit(slow)
        spare = self.add_node("a")
        self.source.answer(slow)
        self.settle()
        self.source.answer(spare)
        self.settle()
        self.assert_served(first, spare)

    def test_checks_of_one_request_run_together(self) -> None:
        """All nodes of a request are checked at the same time."""
        self.source.hold()
        node_ids = [self.add_node("a") for _ in range(3)]
        request_id = self.add_request("a", "a", "a")
        self.settle()
        self.assertEqual(list(self.source.held), node_ids)
        self.assert_waits(request_id)
        self.source.let_go()
        self.settle()
        self.assert_served(request_id, *node_ids)

    def test_first_unfit_node_ends_the_wait(self) -> None:
        """One dead node is enough: the others are given back without waiting for them."""
        self.source.hold()
        dead, slow, third = (self.add_node("a") for _ in range(3))
        self.source.make_unfit(dead)
        large = self.add_request("a", "a")
        self.settle()
        self.source.answer(dead)
        self.settle()
        self.assertEqual(self.source.given_up, [slow])
        self.assertEqual(sorted(self.source.held), sorted([slow, third]))
        self.source.let_go()
        self.settle()
        self.assertEqual(sorted(self.request(large).nodes), sorted([slow, third]))

    def test_all_dead(self) -> None:
        """When every node is dead the request waits for one that is not."""
        dead = [self.add_node("a") for _ in range(10)]
        self.source.make_unfit(*dead)
        request_id = self.add_request("a")
        self.settle()
        self.assertEqual(self.source.asked, dead)
        self.assert_waits(request_id)
        alive = self.add_node("a")
        self.settle()
        self.assert_served(request_id, alive)

    def test_static_request_stays_open_while_checked(self) -> None:
        """The request is never pending meanwhile: nobody has to take it over after a crash."""
        self.source.hold()
        self.add_node("a")
        request_id = self.add_request("a")
        self.settle()
        self.assertEqual(self.state(request_id), "requested")
        self.assertIsNone(self.inspector.stat(paths.request_lock(request_id)))


class ConnectionTests(PoolTestCase):
    """Losing ZooKeeper in the middle of a hand-out."""

    def setUp(self) -> None:
        super().setUp()
        self.one, self.two = self.add_node("a"), self.add_node("a")
        self.settle()

    def assert_each_given_once(self, *requests: str) -> None:
        for request_id in requests:
            self.assert_served(request_id)
        given = [node_id for r in requests for node_id in self.request(r).nodes]
        self.assertEqual(len(set(given)), len(given))
        promised = [n.id for n in self.nodes().values() if n.allocated_to]
        self.assertEqual(sorted(promised), sorted(given))
        self.assert_nothing_held()

    def test_commit_did_not_happen(self) -> None:
        """A commit that was lost on the way is made again."""
        self.inspector.fail_next("transaction", ConnectionLoss(), client=self.client)
        request_id = self.add_request("a")
        self.settle()
        self.assert_each_given_once(request_id)

    def test_commit_happened(self) -> None:
        """A commit whose answer was lost is found out, and nothing is given twice."""
        self.inspector.lose_reply_next("transaction", client=self.client)
        request_id = self.add_request("a")
        self.settle()
        self.assert_each_given_once(request_id)
        self.assertEqual(self.inspector.requests["transaction"], 1)

    def test_again_and_again(self) -> None:
        """However often the connection breaks, the request is served once."""
        self.inspector.fail_next("transaction", ConnectionLoss(), client=self.client, times=7)
        requests = [self.add_request("a"), self.add_request("a")]
        self.settle()
        self.assert_each_given_once(*requests)

    def test_each_request_lost_in_turn(self) -> None:
        """A connection that breaks at any request, before or after it, breaks nothing."""
        for executed in (False, True):
            for count in range(12):
                requests = []
                seen = 0

                def cut(call: object, count: int = count) -> None:
                    nonlocal seen
                    seen += 1
                    if seen == count + 1:
                        self.inspector.cut(self.client)

                stage = self.inspector.after if executed else self.inspector.before
                call_off = stage("*", cut, client=self.client, times=None)
                requests = [self.add_request("a"), self.add_request("a")]
                self.settle()
                call_off()
                self.assert_each_given_once(*requests)
                for request_id in requests:
                    self.use_and_return(request_id)

    def test_session_expires_at_the_commit(self) -> None:
        """With a new session everything goes on, under a new registration."""
        before = self.components()
        self.inspector.fail_next("transaction", SessionExpiredError(), client=self.client)
        request_id = self.add_request("a")
        self.settle()
        self.assert_each_given_once(request_id)
        after = self.components()
        self.assertEqual(len(after), 1)
        self.assertNotEqual(before.keys(), after.keys())
        self.assertEqual({pool.id for pool in after.values()}, {self.pool_id})

    def test_session_expires_while_checking(self) -> None:
        """So it does when the session ends during a check."""
        self.source.hold()
        request_id = self.add_request("a")
        self.settle()
        self.inspector.expire(self.client)
        self.settle()
        self.source.let_go()
        self.settle()
        self.assert_each_given_once(request_id)

    def test_check_ends_without_a_connection(self) -> None:
        """A check that ends while ZooKeeper is away leads to nothing until it is back."""
        self.source.hold()
        request_id = self.add_request("a")
        self.settle()
        self.inspector.suspend(self.client)
        self.source.let_go()
        self.settle()
        self.assert_waits(request_id)
        self.inspector.resume(self.client)
        self.settle()
        self.assert_each_given_once(request_id)

    def test_nothing_is_decided_without_a_connection(self) -> None:
        """While the store is not current no node is even checked, however long it takes."""
        self.inspector.suspend(self.client)
        self.settle()
        requests = [self.add_request("a"), self.add_request("unknown")]
        self.settle()
        self.clock.advance(60.0)
        self.assertEqual(self.source.asked, [])
        self.assert_waits(*requests)
        self.inspector.resume(self.client)
        self.settle()
        self.assertIs(self.client.state, SessionState.CONNECTED)
        self.assert_served(requests[0])
        self.assertEqual(self.state(requests[1]), "failed")

    def test_decline_lost(self) -> None:
        """A decline whose outcome is unknown is made exactly once."""
        for stage in (
            lambda: self.inspector.lose_reply_next("transaction", client=self.client),
            lambda: self.inspector.fail_next("transaction", ConnectionLoss(), client=self.client),
        ):
            stage()
            request_id = self.add_request("unknown")
            self.settle()
            self.assertEqual(self.state(request_id), "failed")
            self.assertEqual(self.request(request_id).declined_by, (self.pool_id,))


class TwoLaunchers(PoolTestCase):
    """Two processes hand out the same nodes."""

    latency = 0.01

    def test_no_node_twice(self) -> None:
        """Every request is served once and no node is given to two."""
        other = self.make_launcher()
        self.make_pool(other)
        self.settle()
        node_ids = [self.add_node("a", "b") for _ in range(30)]
        requests = [self.add_request("ab"[n % 2]) for n in range(20)]
        requests += [self.add_request("a", "b") for _ in range(5)]
        self.settle()
        given = []
        for request_id in requests:
            self.assert_served(request_id)
            given += self.request(request_id).nodes
        self.assertEqual(sorted(given), sorted(node_ids))
        conflicts = sum(pool.statistics.conflicts for pool in (*other.pools, self.pool))
        self.assertGreater(conflicts, 0)
        served = sum(pool.statistics.served for pool in (*other.pools, self.pool))
        self.assertEqual(served, len(requests))

    def test_learns_before_it_tries_again(self) -> None:
        """A lost race is followed by another try when its reason is known, not before."""
        node_id = self.add_node("a")
        self.settle()
        self.inspector.before(
            "transaction", lambda _: self.change_node(node_id, comment="x"), client=self.client
        )
        request_id = self.add_request("a")
        self.settle()
        self.assert_served(request_id, node_id)
        self.assertEqual(self.pool.statistics.conflicts, 1)

    def test_one_dies_while_checking(self) -> None:
        """What one launcher was working on is served by the other; nothing has to time out."""
        other = self.make_launcher()
        self.make_pool(other, source=(dying := ScriptedSource()))
        dying.hold()
        self.done(self.pool.idle())
        self.add_node("a")
        request_id = self.add_request("a")
        self.settle()
        self.assertEqual(len(dying.held), 1)
        self.inspector.suspend(other.client)
        self.pool.resume()
        self.settle()
        self.assert_served(request_id)
