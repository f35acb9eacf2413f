"""Everything that can become of a request and its nodes between the choice and the commit."""

from __future__ import annotations

from collections.abc import Callable

from nodepool_tx.model import NodeState, RequestState
from nodepool_tx.store import paths
from tests.pools.harness import PoolTestCase

Action = Callable[[], object]


class StagedTestCase(PoolTestCase):
    """Something happens at each moment at which it can happen."""

    def setUp(self) -> None:
        super().setUp()
        self.node_id = ""
        self.request_id = ""

    def at_each_moment(self, action: Action, check: Action) -> None:
        """Run ``action`` on a node and a request at each moment, then ``check`` the outcome.

        ``node_id`` and ``request_id`` name them; ``spare`` is a node that comes
        free afterwards, and ``next`` a request in line behind.
        """
        for stage in (self._before_it_is_read, self._while_checking, self._at_the_commit):
            self.node_id = self.add_node("a")
            self.settle()
            stage(action)
            self.settle()
            check()
            self.assert_nothing_held()
            for root in (paths.NODES, paths.REQUESTS):
                for path in self.inspector.dump(root):
                    if path != root:
                        self.delete(path)
            self.settle()
            self.assertEqual(self.pool.waiting, 0)

    def _before_it_is_read(self, action: Action) -> None:
        """The pool knows of the request, and its pass has yet to come."""
        self.inspector.after("get", lambda _: action(), client=self.client)
        self.request_id = self.add_request("a")

    def _while_checking(self, action: Action) -> None:
        self.source.hold()
        self.request_id = self.add_request("a")
        self.settle()
        self.assertEqual(list(self.source.held), [self.node_id])
        action()
        self.settle()
        self.source.let_go()

    def _at_the_commit(self, action: Action) -> None:
        """The transaction is on its way to the server."""
        self.inspector.before("transaction", lambda _: action(), client=self.client)
        self.request_id = self.add_request("a")


class RequestRaces(StagedTestCase):
    """What becomes of a request meanwhile; its node must serve the next one."""

    def assert_node_serves_others(self) -> None:
        other = self.add_request("a")
        self.settle()
        self.assert_served(other, self.node_id)

    def test_vanishes(self) -> None:
        """A request that is withdrawn leaves no trace, and its node serves the next one."""

        def check() -> None:
            self.assertIsNone(self.inspector.stat(paths.request(self.request_id)))
            self.assertIsNone(self.inspector.stat(paths.request_lock(self.request_id)))
            self.assert_free(self.node_id)
            self.assert_node_serves_others()

        self.at_each_moment(lambda: self.delete(paths.request(self.request_id)), check)

    def test_withdrawn_and_node_wanted_at_once(self) -> None:
        """The next in line gets the node at once, without an event of its own."""
        other = ""

        def action() -> None:
            nonlocal other
            other = self.add_request("a")
            self.delete(paths.request(self.request_id))

        self.at_each_moment(action, lambda: self.assert_served(other, self.node_id))

    def test_served_by_another_launcher(self) -> None:
        """A request that somebody else fulfils first stays as they left it."""

        def action() -> None:
            self.change_request(
                self.request_id, state=RequestState.FULFILLED, nodes=("0000009999",)
            )

        def check() -> None:
            self.assertEqual(self.request(self.request_id).nodes, ("0000009999",))
            self.assert_node_serves_others()

        self.at_each_moment(action, check)

    def test_taken_by_another_launcher(self) -> None:
        """A request that another launcher locks and makes pending is theirs."""

        def action() -> None:
            self.lock_request(self.request_id)
            self.change_request(self.request_id, state=RequestState.PENDING)

        def check() -> None:
            self.assertEqual(self.state(self.request_id), "pending")
            self.assert_free(self.node_id)
            self.assert_node_serves_others()

        self.at_each_moment(action, check)

    def test_declined_by_another_pool(self) -> None:
        """A request that another pool declines is served all the same, and keeps their no."""

        def check() -> None:
            self.assert_served(self.request_id, self.node_id)
            self.assertEqual(self.request(self.request_id).declined_by, ("x",))

        self.at_each_moment(lambda: self.change_request(self.request_id, declined_by=("x",)), check)

    def test_priority_changes(self) -> None:
        """A priority that changes meanwhile is kept."""

        def action() -> None:
            contender = self.lock_request(self.request_id)
            self.change_request(self.request_id, relative_priority=42)
            self.delete(contender)

        def check() -> None:
            self.assert_served(self.request_id, self.node_id)
            self.assertEqual(self.request(self.request_id).relative_priority, 42)

        self.at_each_moment(action, check)

    def test_changes_while_it_is_worked_on(self) -> None:
        """A request that is being served is not served a second time from other nodes."""
        self.source.hold()
        first, _ = self.add_node("a"), self.add_node("a")
        request_id = self.add_request("a")
        self.settle()
        self.change_request(request_id, relative_priority=7)
        self.settle()
        self.assertEqual(list(self.source.held), [first])
        self.source.let_go()
        self.settle()
        self.assert_served(request_id, first)

    def test_labels_change(self) -> None:
        """A request that asks for something else now does not get what it asked for before."""

        def check() -> None:
            self.assert_waits(self.request_id)
            self.assert_free(self.node_id)
            node_id = self.add_node("b")
            self.settle()
            self.assert_served(self.request_id, node_id)

        self.at_each_moment(lambda: self.change_request(self.request_id, node_types=("b",)), check)

    def test_becomes_garbage(self) -> None:
        """A request that turns into nonsense is left alone."""

        def check() -> None:
            data = self.inspector.dump(paths.request(self.request_id))
            self.assertEqual(list(data.values()), [b"\xff{"])
            self.assert_free(self.node_id)
            self.assert_node_serves_others()

        self.at_each_moment(
            lambda: self.inspector.set(paths.request(self.request_id), b"\xff{"), check
        )


class NodeRaces(StagedTestCase):
    """What becomes of a node meanwhile; the request must get another one."""

    def assert_served_by_another(self) -> None:
        self.assert_waits(self.request_id)
        other = self.add_node("a")
        self.settle()
        self.assert_served(self.request_id, other)

    def test_vanishes(self) -> None:
        """A node that is removed is not given, and is not brought back."""

        def check() -> None:
            self.assertIsNone(self.inspector.stat(paths.node(self.node_id)))
            self.assert_served_by_another()

        self.at_each_moment(lambda: self.delete(paths.node(self.node_id)), check)

    def test_locked(self) -> None:
        """A node that somebody locks is not touched."""
        before = None

        def action() -> None:
            nonlocal before
            before = self.node(self.node_id)
            self.lock_node(self.node_id)

        def check() -> None:
            self.assertEqual(self.node(self.node_id), before)
            self.assertEqual(self.node(self.node_id).version, before and before.version)
            self.assert_served_by_another()

        self.at_each_moment(action, check)

    def test_locked_for_a_moment(self) -> None:
        """A node that is let go again serves the request after all."""

        def action() -> None:
            contender = self.lock_node(self.node_id)
            self.clock.callLater(5.0, self.delete, contender)

        def check() -> None:
            self.assert_waits(self.request_id)
            self.clock.advance(5.0)
            self.settle()
            self.assert_served(self.request_id, self.node_id)

        self.at_each_moment(action, check)

    def test_given_to_another_request(self) -> None:
        """A node that another launcher promises first stays promised to theirs."""

        def check() -> None:
            self.assertEqual(self.node(self.node_id).allocated_to, "100-0000009999")
            self.assert_served_by_another()

        self.at_each_moment(
            lambda: self.change_node(self.node_id, allocated_to="100-0000009999"), check
        )

    def test_changes_state(self) -> None:
        """A node that an operator holds or deletes is not given."""
        for state in (NodeState.HOLD, NodeState.DELETING, NodeState.USED):

            def check(state: NodeState = state) -> None:
                self.assertIs(self.node(self.node_id).state, state)
                self.assert_served_by_another()

            self.at_each_moment(
                lambda state=state: self.change_node(self.node_id, state=state), check
            )

    def test_loses_its_label(self) -> None:
        """A node that has lost the label is not given for it."""

        def check() -> None:
            self.assert_free(self.node_id)
            self.assert_served_by_another()

        self.at_each_moment(lambda: self.change_node(self.node_id, type=("b",)), check)

    def test_moves_to_another_pool(self) -> None:
        """A node of another pool is not this pool's to give."""

        def check() -> None:
            self.assertIsNone(self.node(self.node_id).allocated_to)
            self.assert_served_by_another()

        self.at_each_moment(lambda: self.change_node(self.node_id, pool="other"), check)

    def test_changes_otherwise(self) -> None:
        """A node whose data changed in ways that do not matter is given with the new data."""

        def check() -> None:
            self.assert_served(self.request_id, self.node_id)
            self.assertEqual(self.node(self.node_id).comment, "new")

        self.at_each_moment(lambda: self.change_node(self.node_id, comment="new"), check)

    def test_becomes_garbage(self) -> None:
        """A node that turns into nonsense is left alone."""

        def check() -> None:
            data = self.inspector.dump(paths.node(self.node_id))[paths.node(self.node_id)]
            self.assertEqual(data, b"[]")
            self.inspector.delete_tree(paths.node(self.node_id))
            self.assert_served_by_another()

        self.at_each_moment(lambda: self.inspector.set(paths.node(self.node_id), b"[]"), check)

    def test_one_of_two_vanishes(self) -> None:
        """When one of two nodes is gone the other is free again, for anyone."""
        one, two = self.add_node("a"), self.add_node("a")
        self.inspector.before("transaction", lambda _: self.delete(paths.node(two)))
        large = self.add_request("a", "a")
        self.settle()
        self.assert_waits(large)
        self.assert_free(one)
        self.assert_nothing_held()
