"""Nodes that nobody holds are adopted, deleted or left alone, each as its record says."""

from __future__ import annotations

from typing import Any

import attrs

from nodepool_tx.config.cloud import CloudPool
from nodepool_tx.model import Node, NodeState
from nodepool_tx.providers.cloud.errors import CloudError, OverQuota
from nodepool_tx.providers.cloud.interface import Order
from nodepool_tx.providers.cloud.records import metadata_of
from nodepool_tx.providers.cloud.service import CloudProviderService
from nodepool_tx.store import paths
from tests.providers.cloud.world import WorldTestCase, cloud_label, cloud_provider


class HousekeepingTestCase(WorldTestCase):
    def provide(self, *labels: str, name: str = "l1", **changes: Any) -> CloudProviderService:
        return self.world.launcher(name).provide(cloud_provider(*labels, **changes))

    def put(self, state: NodeState, *, server: bool = True, **changes: Any) -> str:
        """A node as somebody else left it, with a server made for it."""
        node = Node(
            **{
                "state": state,
                "state_time": self.world.clock.seconds(),
                "provider": "cloud",
                "pool": "main",
                "type": ("small",),
                **changes,
            }
        )
        node_id = self.world.put_node(node)
        if server:
            external_id = self.make_server(attrs.evolve(node, id=node_id))
            self.world.change_node(node_id, external_id=external_id)
        return node_id

    def make_server(self, node: Node) -> str:
        return self.world.cloud.create(
            Order(
                node_id=node.id,
                name="np",
                pool=CloudPool(name="main", provider_name="cloud"),
                label=cloud_label("small"),
                metadata=metadata_of(node),
            )
        )

    def ready(self, service: CloudProviderService, **changes: Any) -> str:
        node_id = self.world.order(service, **changes)
        self.world.wait(60)
        self.assertEqual(self.world.node(node_id).state, NodeState.READY)
        return node_id

    def assert_all_gone(self) -> None:
        self.assertEqual((self.world.nodes(), dict(self.world.cloud.servers)), ({}, {}))


class Deleting(HousekeepingTestCase):
    def test_used(self) -> None:
        """A node that was given back is deleted: its server, and then its record."""
        node_id = self.ready(self.provide())
        self.world.use(node_id)
        self.world.give_back(node_id)
        self.world.wait(1)
        self.assertEqual(self.world.node(node_id).state, NodeState.DELETING)
        self.assertTrue(self.world.locked(node_id))
        self.world.wait(30)
        self.assert_all_gone()
        self.assertEqual(self.world.inspector.dump(paths.node(node_id)), {})

    def test_every_returned_state(self) -> None:
        """Nodes found in any state of those that are done with are deleted at the start."""
        for state in (
            NodeState.USED,
            NodeState.IN_USE,
            NodeState.FAILED,
            NodeState.ABORTED,
            NodeState.DELETING,
            NodeState.DELETED,
        ):
            self.put(state)
        self.provide()
        self.world.wait(40)
        self.assert_all_gone()

    def test_kept(self) -> None:
        """Nodes that are ready, held, tested, or in somebody's hands are left alone."""
        kept = [self.put(state) for state in (NodeState.READY, NodeState.HOLD, NodeState.TESTING)]
        locked = self.put(NodeState.USED)
        self.world.lock(locked)
        self.provide()
        self.world.wait(200)
        self.assertEqual(sorted(self.world.nodes()), sorted([*kept, locked]))
        self.world.unlock(locked)
        self.world.wait(40)
        self.assertEqual(sorted(self.world.nodes()), sorted(kept))

    def test_client_died(self) -> None:
        """A node whose user is gone is deleted."""
        node_id = self.ready(self.provide())
        self.world.use(node_id)
        self.world.wait(100)
        self.assertIn(node_id, self.world.nodes())
        self.world.unlock(node_id)
        self.world.wait(40)
        self.assert_all_gone()

    def test_held_at_the_last_moment(self) -> None:
        """A node that is put on hold just as it is let go is kept."""
        node_id = self.ready(self.provide())
        self.world.use(node_id)
        self.world.inspector.before(
            "create",
            lambda _: self.world.change_node(node_id, state=NodeState.HOLD),
            path=lambda path: path.startswith(paths.node_lock(node_id) + "/"),
        )
        self.world.unlock(node_id)
        self.world.wait(60)
        self.assertEqual(self.world.node(node_id).state, NodeState.HOLD)
        self.assertFalse(self.world.locked(node_id))

    def test_server_gone_already(self) -> None:
        """A node whose server is gone is removed."""
        node_id = self.ready(self.provide())
        self.world.cloud.lose_server(str(self.world.node(node_id).external_id))
        self.world.use(node_id)
        self.world.give_back(node_id)
        self.world.wait(5)
        self.assert_all_gone()

    def test_server_unknown(self) -> None:
        """A node on its way out whose server was never written down takes it along."""
        node = Node(state=NodeState.DELETING, provider="cloud", pool="main", type=("small",))
        node_id = self.world.put_node(node)
        self.make_server(attrs.evolve(node, id=node_id))
        self.provide()
        self.world.wait(40)
        self.assert_all_gone()

    def test_nothing_was_made(self) -> None:
        """A node for which nothing was made is removed without asking the cloud."""
        self.put(NodeState.ABORTED, server=False)
        service = self.provide()
        before = self.world.cloud.calls["delete"]
        self.world.wait(5)
        self.assert_all_gone()
        self.assertEqual(self.world.cloud.calls["delete"], before)
        self.assertEqual(service.status().tasks, ())

    def test_until_gone(self) -> None:
        """A server is asked to go until it is gone, and that it does not is shown."""
        service = self.provide()
        node_id = self.ready(service)
        self.world.cloud.fail_next("delete", CloudError("500"), times=3)
        self.world.cloud.ignore_deletion()
        self.world.use(node_id)
        self.world.give_back(node_id)
        self.world.wait(10)
        (stuck,) = service.status().details["stuck"]
        self.assertEqual((stuck.node_id, stuck.reason), (node_id, "500"))
        self.assertTrue(any("is not deleted" in line for line in service.status().troubles))
        self.world.wait(150)
        self.assert_all_gone()
        self.assertEqual(service.status().troubles, ())

    def test_hanging_call_stops_nothing_else(self) -> None:
        """A call without an answer keeps neither other deletions nor launches from going on."""
        service = self.provide()
        ids = [self.ready(service) for _ in range(3)]
        self.world.cloud.hang_next("delete")
        for node_id in ids:
            self.world.use(node_id)
            self.world.give_back(node_id)
        self.world.wait(30)
        self.assertEqual(list(self.world.nodes()), ids[:1])
        self.ready(service)
        self.world.wait(60)
        self.assertNotIn(ids[0], self.world.nodes())

    def test_oldest_first(self) -> None:
        """Of many that are to be deleted the oldest go first."""
        now = self.world.clock.seconds()
        ids = [self.put(NodeState.USED, state_time=now - 100 + (7 * i) % 20) for i in range(20)]
        ages = {i: self.world.node(i).state_time for i in ids}
        self.provide(rate=1.0)
        gone: list[str] = []
        for _ in range(300):
            self.world.wait(1)
            gone += [i for i in ids if i not in self.world.nodes() and i not in gone]
        self.assertEqual(len(gone), 20)
        self.assertLess(sum(ages[i] for i in gone[:5]), sum(ages[i] for i in gone[-5:]))

    def test_many(self) -> None:
        """Hundreds of nodes are deleted side by side, with a handful of listings."""
        for _ in range(300):
            self.put(NodeState.USED)
        self.provide()
        before = self.world.cloud.calls["list_instances"]
        self.world.wait(40)
        self.assert_all_gone()
        self.assertLessEqual(self.world.cloud.calls["list_instances"] - before, 8)

    def test_make_room(self) -> None:
        """Nodes in stock that are in the way are deleted; one that is promised is not."""
        service = self.provide()
        first, second = self.ready(service, allocated_to=None), self.ready(service)
        nodes = [self.world.node(first), self.world.node(second)]
        service.making.make_room(nodes)
        self.assertFalse(service._context.store.nodes.is_free(first))
        self.world.wait(40)
        self.assertEqual(list(self.world.nodes()), [second])

    def test_label_taken_out(self) -> None:
        """Nodes of labels that are configured no more: free ones go, others when they return."""
        free = self.put(NodeState.READY, type=("old",))
        promised = self.put(NodeState.READY, type=("old",), allocated_to="200-1")
        building = self.put(NodeState.BUILDING, type=("old",))
        new = self.put(NodeState.INIT, type=("old",), server=False)
        elsewhere = self.put(NodeState.READY, pool="gone")
        used = self.put(NodeState.IN_USE, type=("old",))
        self.world.lock(used)
        self.provide("small")
        self.world.wait(60)
        self.assertEqual(sorted(self.world.nodes()), sorted([promised, used]))
        for gone in (free, building, new, elsewhere):
            self.assertNotIn(gone, self.world.nodes())
        self.world.give_back(used)
        self.world.wait(40)
        self.assertEqual(list(self.world.nodes()), [promised])

    def test_request_that_is_gone(self) -> None:
        """A node that was never begun, for a request that nobody works on, is removed."""
        service = self.provide()
        request = self.world.request("small")
        self.world.put_node(service.making.draft("main", "small", request, None))
        self.world.inspector.delete_tree(paths.request(request.id))
        self.world.wait(150)
        self.assert_all_gone()
        self.assertEqual(self.world.cloud.made, 0)


class Garbage(HousekeepingTestCase):
    def test_strange_records(self) -> None:
        """Records with strange contents are dealt with one by one, and harm nobody else."""
        strange: dict[str, dict[str, Any]] = {
            "no label": {"type": ()},
            "no pool": {"pool": None},
            "a number": {"external_id": 17},
            "no launcher": {"launcher": None},
            "odd request": {"allocated_to": "nonsense/../../x"},
        }
        for changes in strange.values():
            for state in (NodeState.BUILDING, NodeState.INIT, NodeState.USED):
                self.put(state, server=False, **changes)
        good = self.put(NodeState.BUILDING)
        self.provide()
        self.world.wait(400)
        self.assertEqual(self.world.node(good).state, NodeState.READY)
        for node_id, node in self.world.nodes().items():
            self.assertEqual(node.state, NodeState.READY, node_id)
            self.assertIn(node.external_id, self.world.cloud.servers)

    def test_unreadable(self) -> None:
        """A record that makes no sense is left alone."""
        for data in (b"{", b"[]", b"\xff", b"{}"):
            self.world.inspector.create(paths.NODES + "/", data, sequence=True)
        node_id = self.ready(self.provide())
        self.world.wait(100)
        self.assertIn(node_id, self.world.nodes())


class Adopting(HousekeepingTestCase):
    def test_with_a_server(self) -> None:
        """A node that somebody left with a server is waited for."""
        node_id = self.put(NodeState.BUILDING)
        self.provide()
        self.world.wait(60)
        node = self.world.node(node_id)
        self.assertEqual((node.state, self.world.cloud.made), (NodeState.READY, 1))

    def test_with_a_server_that_was_not_written(self) -> None:
        """A server whose id was never written is found by what it carries."""
        node = Node(state=NodeState.BUILDING, provider="cloud", pool="main", type=("small",))
        node_id = self.world.put_node(node)
        external_id = self.make_server(attrs.evolve(node, id=node_id))
        self.provide()
        self.world.wait(60)
        found = self.world.node(node_id)
        self.assertEqual((found.state, found.external_id), (NodeState.READY, external_id))
        self.assertEqual(self.world.cloud.made, 1)

    def test_without_a_server(self) -> None:
        """A node for which nothing was made yet is made."""
        node_id = self.put(NodeState.BUILDING, server=False)
        self.provide()
        self.world.wait(60)
        self.assertEqual(self.world.node(node_id).state, NodeState.READY)

    def test_with_a_server_that_is_gone(self) -> None:
        """A node whose server is gone is made again."""
        node_id = self.put(NodeState.BUILDING, server=False, external_id="server-none")
        self.provide()
        self.world.wait(90)
        self.assertEqual(self.world.node(node_id).state, NodeState.READY)

    def test_server_of_another_provider(self) -> None:
        """A server that carries the node's id but another provider's name is not taken."""
        node = Node(state=NodeState.BUILDING, provider="cloud", pool="main", type=("small",))
        node_id = self.world.put_node(node)
        other = self.make_server(attrs.evolve(node, id=node_id, provider="other"))
        self.provide()
        self.world.wait(60)
        self.assertNotEqual(self.world.node(node_id).external_id, other)
        self.assertIn(other, self.world.cloud.servers)

    def test_not_while_it_is_being_given_away(self) -> None:
        """A node that a pool here is about to change is looked at when that is done."""
        node_id = self.put(NodeState.BUILDING)
        launcher = self.world.launcher()
        launcher.store.nodes.reserve([node_id])
        launcher.provide(cloud_provider())
        self.world.wait(70)
        self.assertEqual(self.world.node(node_id).state, NodeState.BUILDING)
        self.assertFalse(self.world.locked(node_id))
        launcher.store.nodes.unreserve([node_id])
        self.world.wait(40)
        self.assertEqual(self.world.node(node_id).state, NodeState.READY)

    def test_only_the_owner(self) -> None:
        """A launcher that does not look after the provider leaves the nodes of others alone."""
        self.provide(name="l1")
        second = self.provide(name="l2")
        self.assertFalse(second.owner)
        node_id = self.put(NodeState.BUILDING)
        self.world.settle()
        self.assertTrue(self.world.locked(node_id))
        self.assertEqual(second.status().tasks, ())

    def test_room_that_another_launcher_has_made(self) -> None:
        """What the cloud has refused is asked for again when the owner has deleted a server."""
        self.provide(name="l1")
        second = self.provide(name="l2")
        used = self.world.order(second)
        self.world.wait(60)
        self.world.use(used)
        self.world.cloud.fail_next("create", OverQuota("cores"), times=2)
        # After a second refusal nothing is asked for twice as long.
        for pause in (16, 5):
            self.world.order(second)
            self.world.wait(pause)
        objection = second.making.objection("main", ["small"])
        self.assertEqual(objection and objection.rule, "refusal")
        self.world.give_back(used)
        self.world.wait(15)
        self.assertEqual(self.world.nodes(), {})
        self.assertIsNone(second.making.objection("main", ["small"]))

    def test_not_before_it_has_caught_up(self) -> None:
        """What the owner before has done is known before anything is done."""
        node_id = self.put(NodeState.USED)
        service = self.provide()
        self.world.wait(40)
        self.assertNotIn(node_id, self.world.nodes())
        self.assertEqual(self.world.cloud.calls["delete"], 1)
        self.assertTrue(service.owner)


class LeftOver(HousekeepingTestCase):
    def test_server_without_a_node(self) -> None:
        """A server of ours without a node is removed when two sweeps have seen it."""
        gone = Node(id="0000000099", state=NodeState.READY, provider="cloud", pool="main")
        self.make_server(gone)
        service = self.provide()
        self.world.wait(70)
        self.assertEqual(len(self.world.cloud.servers), 1)
        self.world.wait(100)
        self.assert_all_gone()
        self.assertEqual(service.status().details["leaks_removed"], {"instance": 1})

    def test_second_server_of_a_node(self) -> None:
        """A server that carries the id of a node with another server is removed."""
        node_id = self.put(NodeState.READY)
        spare = self.make_server(self.world.node(node_id))
        self.provide()
        self.world.wait(200)
        self.assertNotIn(spare, self.world.cloud.servers)
        self.assertIn(self.world.node(node_id).external_id, self.world.cloud.servers)

    def test_server_of_garbage(self) -> None:
        """The server of a node that makes no sense is left alone, and so is the node."""
        node_id = self.put(NodeState.READY)
        external_id = self.world.node(node_id).external_id
        self.world.inspector.set(paths.node(node_id), b"[1, 2")
        self.provide()
        self.world.wait(300)
        self.assertIn(external_id, self.world.cloud.servers)

    def test_cloud_that_does_not_answer(self) -> None:
        """A sweep that gets no answer is made again; nothing is taken for leaked meanwhile."""
        self.world.cloud.fail_next("list_resources", CloudError("503"))
        self.make_server(Node(id="0000000099", state=NodeState.READY, provider="cloud"))
        self.provide()
        self.world.wait(250)
        self.assert_all_gone()
        self.assertTrue(self.world.said("what is left over cannot be found"))

    def test_while_launching(self) -> None:
        """However often it is swept, what is being made is left alone."""
        service = self.provide(launch_timeout=1000.0)
        self.world.cloud.timing = attrs.evolve(self.world.cloud.timing, boot=400.0)
        ids = [self.world.order(service) for _ in range(5)]
        self.world.wait(500)
        self.assertEqual({self.world.node(i).state for i in ids}, {NodeState.READY})
        self.assertEqual(self.world.cloud.made, 5)
