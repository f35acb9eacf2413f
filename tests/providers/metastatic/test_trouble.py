"""What goes wrong with backing nodes, their requests and their records."""

from __future__ import annotations

import json

import attrs

from nodepool_tx.model import NodeState, RequestState
from nodepool_tx.providers.metastatic.backing import encode, table_path
from nodepool_tx.store import paths
from nodepool_tx.testing.zookeeper import ServerCall
from tests.providers.cloud.world import cloud_provider
from tests.providers.metastatic.stage import (
    BIG,
    OWNER,
    MetaTestCase,
    meta_label,
    meta_provider,
)


class BackingRequests(MetaTestCase):
    """Requests for backing nodes that come to nothing."""

    def test_it_fails(self) -> None:
        """Whoever waits is told why, and the next attempt asks anew."""
        self.world.both()
        request = self.world.ask(2)
        self.world.wait(5)
        (asked,) = self.world.asked_for()
        self.world.change_request(asked.id, state=RequestState.FAILED)
        self.world.wait(1)
        self.assertTrue(self.world.said(f"the request {asked.id} for its backing node failed"))
        self.world.wait(90)
        self.assertNotIn(asked.id, self.world.requests())
        self.assertEqual(len(self.world.given(request)), 2)
        self.assertEqual(len(self.world.table()), 1)
        self.world.check()

    def test_it_always_fails(self) -> None:
        """The nodes fail, and nothing is left."""
        self.world.both(config=meta_provider(meta_label(backing_label="unknown")))
        request = self.world.ask(2)
        self.world.wait(120)
        self.assertEqual(self.world.requests()[request].state, RequestState.FAILED)
        self.assertEqual(self.world.asked_for(), [])
        self.assertEqual((self.world.nodes(), self.world.table()), ({}, {}))

    def test_somebody_removes_it(self) -> None:
        """That is a failure, too."""
        self.world.both()
        request = self.world.ask()
        self.world.wait(5)
        (asked,) = self.world.asked_for()
        self.world.inspector.delete_tree(paths.request(asked.id))
        self.world.wait(1)
        self.assertTrue(self.world.said("the request for its backing node is gone"))
        self.world.wait(200)
        self.world.given(request)
        self.world.check()

    def test_nobody_waits_any_more(self) -> None:
        """A node that is not needed any more is not asked for any longer."""
        self.world.both()
        request = self.world.ask()
        self.world.wait(2)
        self.world.inspector.suspend(self.world.visitor)
        self.world.inspector.delete_tree(paths.request(request))
        self.world.settle()
        for node in self.world.of("meta"):
            self.world.change_node(node.id, state=NodeState.DELETING)
        self.world.wait(100)
        self.assertEqual(self.world.asked_for(), [])
        self.assertEqual(self.world.table(), {})
        self.world.inspector.resume(self.world.visitor)

    def test_the_next_attempt_waits_for_the_same(self) -> None:
        """A launch that takes too long does not give its place in the queue up."""
        self.world.both(config=meta_provider(launch_timeout=20.0))
        self.world.cloud.timing = attrs.evolve(self.world.cloud.timing, boot=50.0)
        request = self.world.ask()
        self.world.wait(5)
        (asked,) = self.world.asked_for()
        self.world.wait(35)
        self.assertEqual([each.id for each in self.world.asked_for()], [asked.id])
        self.world.wait(60)
        self.world.given(request)

    def test_a_request_without_a_record(self) -> None:
        """What nobody would ever use is not waited for."""
        self.world.both()
        self.world.ask()
        self.world.wait(2)
        (id,) = self.world.table()
        (asked,) = self.world.asked_for()
        self.world.inspector.delete(f"{table_path('meta')}/{id}")
        self.world.wait(2)
        self.assertNotIn(asked.id, self.world.requests())


class BackingNodes(MetaTestCase):
    """Backing nodes that somebody or something takes away."""

    def setUp(self) -> None:
        super().setUp()
        self.launcher, self.service = self.world.both()

    def test_it_vanishes(self) -> None:
        """Parts in stock are deleted, those in use keep their records, then all is gone."""
        nodes = self.world.serve(2)
        request = self.world.ask()
        self.world.wait(5)
        (ready,) = self.world.requests()[request].nodes
        self.world.inspector.delete_tree(paths.request(request))
        self.world.wait(5)
        self.assertEqual(self.world.node(ready).state, NodeState.READY)
        (big,) = self.world.of("cloud")
        self.world.inspector.delete_tree(paths.node(big.id))
        self.world.wait(20)
        self.assertTrue(self.world.said(f"its backing node {big.id} is gone"))
        self.assertNotIn(ready, self.world.nodes())
        self.assertEqual({node.id for node in self.world.of("meta")}, set(nodes))
        fresh = self.world.serve(1)
        self.assertNotEqual(self.world.node(fresh[0]).driver_data["backing_node"], big.id)
        for node_id in nodes:
            self.world.give_back(node_id)
        self.world.wait(10)
        self.assertEqual(len(self.world.table()), 1)
        self.assertIsNone(self.world.backing().trouble)

    def test_an_operator_deletes_it(self) -> None:
        """It gets no more parts, and goes when it has none."""
        first, second = self.world.serve(2)
        (big,) = self.world.of("cloud")
        self.world.change_node(big.id, state=NodeState.DELETING)
        (third,) = self.world.serve(1)
        self.assertNotEqual(self.world.node(third).driver_data["backing_node"], big.id)
        self.world.give_back(first)
        self.world.wait(20)
        self.assertIn(big.id, self.world.nodes())
        self.world.give_back(second)
        self.world.wait(15)
        self.assertNotIn(big.id, self.world.nodes())

    def test_an_operator_wants_to_be_rid_of_it(self) -> None:
        """Called failed in its record it gets no more parts, and goes with its last."""
        first, second = self.world.serve(2)
        backing = self.world.backing()
        path = f"{table_path('meta')}/{backing.id}"
        self.world.inspector.set(path, encode(attrs.evolve(backing, failed=True)))
        self.world.give_back(first)
        (third,) = self.world.serve(1)
        self.assertNotEqual(self.world.node(third).driver_data["backing_node"], backing.node)
        assert backing.node is not None
        self.assertEqual(self.world.node(backing.node).state, NodeState.IN_USE)
        self.world.give_back(second)
        self.world.wait(15)
        self.assertNotIn(backing.node, self.world.nodes())

    def test_an_operator_holds_it(self) -> None:
        """It is kept for as long as that lasts, and gets no more parts."""
        (first,) = self.world.serve(1)
        (big,) = self.world.of("cloud")
        self.world.change_node(big.id, state=NodeState.HOLD)
        self.world.give_back(first)
        self.world.wait(300)
        self.assertEqual(self.world.node(big.id).state, NodeState.HOLD)
        self.world.change_node(big.id, state=NodeState.USED)
        self.world.wait(15)
        self.assertEqual(self.world.nodes(), {})

    def test_its_lock_is_taken_away(self) -> None:
        """Its provider deletes it then, as it would any node that nobody has."""
        (first,) = self.world.serve(1)
        (big,) = self.world.of("cloud")
        for path in self.world.inspector.dump(paths.node_lock(big.id) + "/"):
            self.world.inspector.delete(path)
        self.world.wait(60)
        self.assertNotIn(big.id, self.world.nodes())
        self.world.give_back(first)
        self.world.wait(70)
        self.assertEqual((self.world.nodes(), self.world.table()), ({}, {}))

    def test_somebody_else_has_it_when_it_is_there(self) -> None:
        """It is taken when it is free, and no other is asked for."""
        request = self.world.ask()
        self.world.wait(5)
        (asked,) = self.world.asked_for()
        (big,) = self.world.of("cloud")
        held: list[str] = []

        def lock(_: object) -> None:
            if not held:
                self.world.lock(big.id)
                held.append(big.id)

        self.launcher.store.requests.subscribe(
            lambda change: (
                lock(change)
                if change.after is not None
                and change.request_id == asked.id
                and change.after.state is RequestState.FULFILLED
                else None
            )
        )
        self.world.wait(60)
        self.assertEqual(held, [big.id])
        self.assertIsNone(self.world.backing().node)
        self.world.unlock(big.id)
        self.world.wait(10)
        self.world.given(request)
        self.assertEqual(self.world.backing().node, big.id)

    def test_the_node_it_was_given_is_gone(self) -> None:
        """Another is asked for."""
        request = self.world.ask()
        self.world.wait(5)
        (asked,) = self.world.asked_for()
        self.world.change_request(asked.id, state=RequestState.FULFILLED, nodes=("0000009999",))
        self.world.wait(5)
        self.assertTrue(self.world.said("the backing node it was given (0000009999) is gone"))
        self.world.wait(100)
        self.world.given(request)
        self.world.check()

    def test_a_part_that_cannot_be_reached(self) -> None:
        """Its backing node gets no more parts, as Nodepool 11 can read, and goes in the end."""
        label = meta_label(host_key_checking=True)
        self.launcher, self.service = self.world.both("l2", meta_provider(label))
        self.world.kill(self.world.launchers[0])
        (first,) = self.world.serve(1)
        (big,) = self.world.of("cloud")
        self.world.scanner.deaf = 1
        request = self.world.ask()
        self.world.wait(240)
        (second,) = self.world.given(request)
        other = self.world.node(second).driver_data["backing_node"]
        self.assertNotEqual(other, big.id)
        self.assertIs(json.loads(self.world.node(big.id).user_data)["failed"], True)
        self.assertIs(json.loads(self.world.node(other).user_data)["failed"], False)
        self.world.give_back(first)
        self.world.wait(15)
        self.assertNotIn(big.id, self.world.nodes())
        self.assertIn(other, self.world.nodes())


class Records(MetaTestCase):
    """Records that make no sense, or are missing."""

    def test_garbage(self) -> None:
        """It is left alone, and keeps nothing else from being done."""
        self.world.both()
        rubbish = {
            "a": b"",
            "b": b"{",
            "c": b"[]",
            "d": b'{"slots": [1]}',
            "e": b'{"label": "small", "slots": [null], "created": "x", "failed": false}',
            "f": b"\xff\xfe",
        }
        for name, data in rubbish.items():
            self.world.inspector.create(f"{table_path('meta')}/{name}", data)
        for node_id in self.world.serve(3):
            self.world.give_back(node_id)
        self.world.wait(100)
        self.assertEqual(self.world.nodes(), {})
        left = self.world.inspector.dump(table_path("meta") + "/")
        self.assertEqual({path.rpartition("/")[2]: data for path, data in left.items()}, rubbish)

    def test_the_whole_table_is_gone(self) -> None:
        """It is made anew from what the nodes say; what waits is asked for again."""
        self.world.both()
        nodes = self.world.serve(2)
        waiting = self.world.ask(2)
        self.world.wait(2)
        before = self.world.record_of(self.world.node(nodes[0]).driver_data["backing_node"])
        self.world.inspector.delete_tree(table_path("meta"))
        self.world.wait(150)
        assert before is not None
        assert before.node is not None
        after = self.world.record_of(before.node)
        assert after is not None
        for node_id in nodes:
            self.assertEqual(after.slot_of(node_id), before.slot_of(node_id))
        self.assertEqual(after.launched, before.launched)
        self.world.given(waiting)
        self.world.check()

    def test_a_slot_that_nobody_has(self) -> None:
        """A slot whose node is gone is freed by the second sweep."""
        self.world.both()
        (node_id,) = self.world.serve(1)
        self.world.inspector.delete_tree(paths.node(node_id))
        self.world.wait(200)
        self.assertEqual((self.world.nodes(), self.world.table()), ({}, {}))

    def test_a_record_that_is_older_than_its_parts(self) -> None:
        """A node in use that says it has a slot gets it back, and keeps its backing node."""
        self.world.both()
        first, _ = self.world.serve(2)
        backing = self.world.backing()
        number = backing.slot_of(first)
        assert number is not None
        path = f"{table_path('meta')}/{backing.id}"
        self.world.inspector.set(path, encode(backing.with_slot(number, None)))
        self.world.wait(70)
        self.assertEqual(self.world.backing().slot_of(first), number)
        self.world.check()

    def test_strangers(self) -> None:
        """A request in our name that is for no record of ours is somebody else's."""
        self.world.both()
        request = self.world.request(
            BIG, state=RequestState.REQUESTED, requestor=OWNER, requestor_data=None
        )
        self.world.wait(200)
        self.assertEqual(self.world.requests()[request.id].state, RequestState.FULFILLED)


class Connections(MetaTestCase):
    """Lost connections and lost answers."""

    def test_lost_answers(self) -> None:
        """A transaction whose answer is lost is not made twice."""
        launcher, _ = self.world.both()
        client = launcher.client
        lost: list[str] = []

        def lose(call: ServerCall) -> None:
            lost.extend(call.paths)
            self.world.inspector.cut(client)

        self.world.inspector.after(
            "transaction", lose, path=lambda path: "metastatic" in path, client=client, times=3
        )
        requests = [self.world.ask(2) for _ in range(3)]
        self.world.wait(120)
        for request in requests:
            for node_id in self.world.given(request):
                self.world.give_back(node_id)
        self.world.check()
        self.assertTrue(lost)
        self.world.wait(100)
        self.assertEqual((self.world.nodes(), self.world.table()), ({}, {}))

    def test_only_the_owner_releases(self) -> None:
        """Another launcher with the provider does when the owner is gone."""
        self.world.both("l1")
        self.world.both("l2")
        (node_id,) = self.world.serve(1)
        owners = [
            launcher for launcher in self.world.launchers if launcher.ownerships.of("meta").held
        ]
        self.assertEqual(len(owners), 1)
        self.world.inspector.suspend(owners[0].client)
        self.world.give_back(node_id)
        self.world.wait(200)
        self.assertEqual((self.world.nodes(), self.world.table()), ({}, {}))
        self.world.inspector.resume(owners[0].client)
        self.world.wait(20)
        self.world.check()

    def test_two_clouds(self) -> None:
        """Backing nodes come from whichever provider has their label."""
        launcher, _ = self.world.both()
        launcher.provide(cloud_provider(BIG, name="other"))
        self.world.serve(9)
        self.assertEqual(len(self.world.table()), 3)
        self.world.check()
