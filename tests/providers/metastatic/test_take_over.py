"""Backing nodes that Nodepool 11 has made go on here, when it does not serve them any more."""

from __future__ import annotations

import json
from typing import Any

from nodepool_tx.model import Node, NodeState, PoolComponent
from nodepool_tx.providers.metastatic.backing import owner_of
from nodepool_tx.providers.metastatic.taking_over import Claim, claim_in
from nodepool_tx.store import paths
from nodepool_tx.store.codec import encode_component, encode_node
from tests.providers.metastatic.stage import OWNER, MetaTestCase, MetaWorld


def backing_node(world: MetaWorld, **said: Any) -> str:
    """A backing node as Nodepool 11 leaves one; returns its id."""
    data = {
        "owner": OWNER,
        "label": "small",
        "slots": 3,
        "failed": False,
        "launched": world.clock.seconds() - 500,
        **said,
    }
    node_id = world.put_node(
        Node(
            state=NodeState.IN_USE,
            state_time=world.clock.seconds(),
            provider="elsewhere",
            pool="main",
            type=("big",),
            interface_ip="192.0.2.77",
            user_data=json.dumps(data),
        )
    )
    contender = f"{paths.node_lock(node_id)}/{'a' * 32}__lock__"
    world.inspector.create(contender, OWNER.encode(), sequence=True)
    return node_id


def part(world: MetaWorld, backing: str, slot: int, state: NodeState, **changes: Any) -> str:
    """A node that Nodepool 11 has carved out of it."""
    path = world.inspector.create(paths.NODES + "/", b"", sequence=True)
    node_id = path.rpartition("/")[2]
    fields: dict[str, Any] = {
        "type": ("small",),
        "provider": "meta",
        "pool": "main",
        "external_id": node_id,
        "slot": slot,
        "driver_data": {
            "metadata": {
                "nodepool_node_id": node_id,
                "nodepool_pool_name": "main",
                "nodepool_provider_name": "meta",
            },
            "backing_node": backing,
            "slot": slot,
            "node": node_id,
        },
        **changes,
    }
    world.inspector.set(
        path, encode_node(Node(state=state, state_time=world.clock.seconds(), **fields))
    )
    return node_id


class TakingOver(MetaTestCase):
    """With the records of Nodepool 11 in ZooKeeper."""

    def test_everything(self) -> None:
        """Slots, age and lock are what they were, and are gone by."""
        world = self.world
        big = backing_node(world)
        used = part(world, big, 1, NodeState.IN_USE)
        world.lock(used)
        world.both()
        world.wait(5)
        backing = world.backing()
        self.assertEqual((backing.node, backing.label, backing.failed), (big, "small", False))
        self.assertEqual((backing.slot_of(used), backing.free), (1, 2))
        self.assertEqual(backing.launched, world.clock.seconds() - 505)
        nodes = world.serve(2, seconds=5)
        self.assertEqual({world.node(id).interface_ip for id in nodes}, {"192.0.2.77"})
        self.assertEqual({world.node(id).slot for id in nodes}, {0, 2})
        world.check()
        for node_id in (used, *nodes):
            world.give_back(node_id)
        world.wait(70)
        self.assertEqual(world.node(big).state, NodeState.USED)
        self.assertFalse(world.locked(big))
        self.assertEqual(world.table(), {})

    def test_names(self) -> None:
        """A provider is known by any name, as JSON writes it."""
        for name in ("meta", "mélange", 'a "b"', "\\"):
            owner = owner_of(name)
            said = {"owner": owner, "label": "small", "slots": 2, "launched": 5}
            node = Node(state=NodeState.IN_USE, user_data=json.dumps(said))
            self.assertEqual(claim_in(node, owner), Claim("small", 2, False, 5.0))
            self.assertIsNone(claim_in(node, owner_of("other")))

    def test_a_failed_one(self) -> None:
        """It gets no more parts, and goes."""
        big = backing_node(self.world, failed=True)
        self.world.both()
        self.world.wait(5)
        self.assertEqual(self.world.node(big).state, NodeState.USED)
        self.assertFalse(self.world.locked(big))

    def test_while_nodepool_serves_it(self) -> None:
        """Its backing nodes are its own; when it is gone they are taken over."""
        world = self.world
        component = PoolComponent(
            id="nl01-PoolWorker.meta-main-1",
            name="main",
            provider_name="meta",
            hostname="nl01",
            version="11.0.0",
        )
        there = world.inspector.create(
            paths.component("pool", "nl01-"), encode_component(component), sequence=True
        )
        big = backing_node(world)
        world.both()
        world.wait(130)
        self.assertEqual(world.table(), {})
        self.assertEqual(world.node(big).state, NodeState.IN_USE)
        world.inspector.delete(there)
        world.wait(10)
        self.assertEqual(world.backing().node, big)

    def test_claims_of_others(self) -> None:
        """A node that only says so, and is not locked by us, is somebody else's."""
        world = self.world
        not_locked = backing_node(world)
        world.inspector.delete_tree(paths.node_lock(not_locked))
        locked = backing_node(world)
        world.inspector.delete_tree(paths.node_lock(locked))
        world.lock(locked)
        other = backing_node(world, owner="NodePool:metastatic:other")
        odd = [backing_node(world, slots=slots) for slots in (0, -1, "many", None, 10**9)]
        world.both()
        world.wait(130)
        self.assertEqual(world.table(), {})
        for node_id in (not_locked, locked, other, *odd):
            self.assertEqual(world.node(node_id).state, NodeState.IN_USE)
        self.assertEqual(world.failures, [])

    def test_parts_that_contradict_each_other(self) -> None:
        """The first has the slot, and the other is told of."""
        big = backing_node(self.world)
        first = part(self.world, big, 0, NodeState.IN_USE)
        second = part(self.world, big, 0, NodeState.IN_USE)
        third = part(self.world, big, 7, NodeState.IN_USE)
        for node_id in (first, second, third):
            self.world.lock(node_id)
        self.world.both()
        self.world.wait(5)
        self.assertEqual(self.world.backing().slot_of(first), 0)
        self.assertEqual(self.world.backing().free, 2)
        self.assertTrue(self.world.said(f"node {second} says that it has slot 0"))
        self.assertTrue(self.world.said(f"node {third} says that it has slot 7"))
        self.world.give_back(first)
        self.world.wait(200)
        self.assertEqual(self.world.node(big).state, NodeState.IN_USE)

    def test_a_launch_that_was_cut_off(self) -> None:
        """A node that was being made is made, in the slot that it has."""
        big = backing_node(self.world)
        building = part(self.world, big, 2, NodeState.BUILDING, interface_ip=None)
        self.world.both()
        self.world.wait(10)
        node = self.world.node(building)
        self.assertEqual((node.state, node.slot), (NodeState.READY, 2))
        self.assertEqual(node.interface_ip, "192.0.2.77")
        self.world.check()

    def test_two_launchers_at_once(self) -> None:
        """Each backing node is taken over once."""
        nodes = {backing_node(self.world) for _ in range(5)}
        self.world.both("l1")
        self.world.both("l2")
        self.world.kill(self.world.launchers[0])
        self.world.wait(5)
        self.assertEqual({each.node for each in self.world.table().values()}, nodes)
        self.assertEqual(len(self.world.table()), 5)
