"""Lost requests and deserted nodes, with one janitor and with two."""

from __future__ import annotations

from typing import Any

from kazoo.exceptions import ConnectionLoss

from nodepool_tx.model import NodeState, RequestState
from nodepool_tx.store import paths
from nodepool_tx.store.usage import Account
from tests.janitor_stage import JanitorTestCase
from tests.pools.harness import written


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

        One that was being built is promised to nobody: its provider adopts it.
        One that somebody goes on building stays promised to the request.
        """
        request_id, contender = self.pending()
        fields = {"allocated_to": request_id, "tenant_name": "t", "requestor": "zuul"}
        ready = self.add_node("a", **fields)
        begun = self.add_node("a", state=NodeState.INIT, provider="cloud", **fields)
        building = self.add_node("a", state=NodeState.BUILDING, provider="cloud", **fields)
        adopted = self.add_node("a", state=NodeState.BUILDING, provider="cloud", **fields)
        self.lock_node(adopted)
        self.settle()
        self.delete(contender)
        self.settle()
        self.assertEqual(self.state(request_id), "requested")
        node = self.node(ready)
        self.assertEqual((node.state, node.allocated_to), (NodeState.READY, None))
        self.assertEqual((node.tenant_name, node.requestor), (None, None))
        self.assertIs(self.node(begun).state, NodeState.DELETING)
        node = self.node(building)
        self.assertEqual((node.state, node.allocated_to), (NodeState.BUILDING, None))
        self.assertEqual(self.node(adopted).allocated_to, request_id)
        used = self.store.nodes.usage.used(Account.of_tenant("t"))
        self.assertEqual(used.get("instances"), 2)

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

    def test_node_that_it_does_not_get(self) -> None:
        """What is kept for an open request goes to others when two sweeps have seen it.

        It was being made when its request was given back, and is promised to
        it; the request may wait for room behind one that waits for this node's.
        """
        request_id, contender = self.pending()
        node_id = self.add_node("a", state=NodeState.BUILDING, allocated_to=request_id)
        lock = self.lock_node(node_id)
        self.delete(contender)
        self.settle()
        self.assertEqual(self.state(request_id), "requested")
        self.change_node(node_id, state=NodeState.READY)
        self.delete(lock)
        self.sweep()
        self.assertEqual(self.node(node_id).allocated_to, request_id)
        self.sweep()
        self.assertIsNone(self.node(node_id).allocated_to)
        self.assertEqual(self.state(request_id), "requested")

    def test_node_that_it_gets(self) -> None:
        """What is kept for a request stays its own when it is taken again."""
        request_id, contender = self.pending()
        node_id = self.add_node("a", state=NodeState.BUILDING, allocated_to=request_id)
        lock = self.lock_node(node_id)
        self.delete(contender)
        self.settle()
        self.change_node(node_id, state=NodeState.READY)
        self.delete(lock)
        self.sweep()
        self.lock_request(request_id)
        self.sweep(3)
        self.assertEqual(self.node(node_id).allocated_to, request_id)

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
        mine = (NodeState.READY, NodeState.BUILDING)
        states = [state for state in NodeState if state not in mine]
        nodes = [self.promised("100-0000009999", state=state) for state in states]
        self.sweep(3)
        for node_id in nodes:
            self.assertEqual(self.node(node_id).version, 0)

    def test_being_built(self) -> None:
        """One that nobody builds any more is promised to nobody; one in work is left alone."""
        orphan = self.promised("100-0000009999", state=NodeState.BUILDING)
        node = self.node(orphan)
        self.assertEqual((node.state, node.allocated_to), (NodeState.BUILDING, None))
        request_id = self.add_request("x", state=RequestState.PENDING)
        self.lock_request(request_id)
        in_work = self.promised(request_id, state=NodeState.BUILDING)
        self.lock_node(in_work)
        self.delete(paths.request(request_id))
        self.sweep(2)
        self.assertEqual(self.node(in_work).version, 0)

    def test_adopted_at_the_last_moment(self) -> None:
        """A node that is adopted while its request is opened again does not prevent that."""
        request_id = self.add_request("x", state=RequestState.PENDING)
        contender = self.lock_request(request_id)
        node_id = self.promised(request_id, state=NodeState.BUILDING)
        self.inspector.before(
            "transaction", lambda _: self.lock_node(node_id), path=written, times=1
        )
        self.delete(contender)
        self.settle()
        self.assertEqual(self.state(request_id), "requested")
        self.assertEqual(self.node(node_id).allocated_to, request_id)

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


class LostRequestTestsOfTwo(LostRequestTests):
    rivals = True


class DesertedNodeTestsOfTwo(DesertedNodeTests):
    rivals = True
