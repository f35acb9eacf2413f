"""Where nodes stand, compared with looking through all of them."""

from __future__ import annotations

import itertools
from typing import Any

import attrs
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nodepool_tx.model import NodeState
from nodepool_tx.providers.static.desired import Desired, SlotKey, key_of
from nodepool_tx.providers.static.observed import AMPLE
from nodepool_tx.providers.static.slots import SlotIndex
from nodepool_tx.store import paths
from nodepool_tx.store.codec import encode_node
from tests.providers.static.values import HOST, key, node
from tests.store.harness import StoreTestCase

DESIRED = Desired({HOST.identity: attrs.evolve(HOST, slots=3)})
LIMIT = 3


class SlotIndexTests(StoreTestCase):
    """One machine with three slots."""

    def setUp(self) -> None:
        super().setUp()
        self.order = itertools.count(1)
        self.taken: set[SlotKey] = set()
        self.index = SlotIndex("rack", DESIRED, self.nodes)
        self.index.load(next(self.order))
        self.heard: list[tuple[SlotKey, ...]] = []
        self.nodes.subscribe(
            lambda change: self.heard.append(self.index.follow(change, next(self.order)))
        )

    def put(self, slot: int | None, state: NodeState = NodeState.READY) -> str:
        return self.put_node(node("", state, slot=slot)).id

    def room(self, slot: int) -> int:
        return self.index.observe(key(slot), self.taken.__contains__).room

    def spare(self) -> int | None:
        return self.index.observe(key(None), self.taken.__contains__).spare

    def test_a_change_concerns_the_slot_it_left_and_the_one_it_came_to(self) -> None:
        """Both are planned again."""
        node_id = self.put(0)
        moved = attrs.evolve(self.known_node(node_id), slot=2)
        self.inspector.set(paths.node(node_id), encode_node(moved))
        self.settle()
        self.inspector.delete(paths.node(node_id))
        self.settle()
        self.assertEqual(self.heard, [(key(0),), (key(0), key(2)), (key(2),)])
        self.assertEqual(len(self.index), 0)

    def test_an_emptied_slot_knows_since_when(self) -> None:
        """And forgets it when it is filled again."""
        never = self.index.observe(key(1), self.taken.__contains__).empty_since
        node_id = self.put(1)
        self.inspector.delete(paths.node(node_id))
        self.settle()
        emptied = self.index.observe(key(1), self.taken.__contains__).empty_since
        self.assertGreater(emptied, never)

    def test_a_reservation_is_no_change_of_the_node(self) -> None:
        """What was seen of it is as old as before; a lock is news."""

        def seen() -> int:
            return self.index.observe(key(0), self.taken.__contains__).nodes[0].seen

        node_id = self.put(0)
        before = seen()
        self.nodes.reserve([node_id])
        self.nodes.unreserve([node_id])
        self.assertEqual(seen(), before)
        self.lock_node(node_id)
        self.settle()
        self.assertGreater(seen(), before)

    def test_a_host_without_surplus_has_ample_room(self) -> None:
        """Nobody counts where nothing can be wrong."""
        self.put(0)
        self.assertEqual(self.room(1), AMPLE)
        self.assertFalse(self.index.is_crowded(HOST.identity))

    def test_surplus_takes_room_from_empty_slots(self) -> None:
        """Out of range, without a slot, or two in one; what is being filled counts too."""
        self.put(0)
        self.put(7)
        self.assertEqual(self.room(1), 1)
        self.put(None)
        self.assertEqual(self.room(1), 0)
        self.put(0)
        self.assertEqual(self.room(1), -1)
        self.assertEqual(self.spare(), 1)
        self.taken.add(key(1))
        self.assertEqual((self.room(2), self.spare()), (-2, 2))

    def test_held_and_strange_nodes_take_no_room(self) -> None:
        """They run no job."""
        self.put(7, NodeState.HOLD)
        self.put(8, NodeState.INIT)
        self.assertTrue(self.index.is_crowded(HOST.identity))
        self.assertEqual(self.room(0), LIMIT)

    def test_loading_begins_again(self) -> None:
        """From what the table shows, as if it had just come to be."""
        node_id = self.put(0)
        loaded = next(self.order)
        self.index.load(loaded)
        observed = self.index.observe(key(0), self.taken.__contains__)
        self.assertEqual([s.node.id for s in observed.nodes], [node_id])
        self.assertEqual(observed.nodes[0].seen, loaded)
        empty = self.index.observe(key(1), self.taken.__contains__)
        self.assertEqual(empty.empty_since, loaded)


places = st.tuples(
    st.sampled_from([0, 0, 1, 1, 2, 3, -1, None]),
    st.sampled_from([NodeState.READY, NodeState.READY, NodeState.HOLD, NodeState.TESTING]),
    st.sampled_from(["rack", "rack", "other"]),
)
steps = st.tuples(st.sampled_from(["write", "write", "remove"]), st.integers(0, 5), places)


@given(st.lists(steps, max_size=25))
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_the_index_agrees_with_looking_through_all_nodes(
    schedule: list[tuple[str, int, tuple[Any, NodeState, str]]],
) -> None:
    """Who stands where, whether there are too many, and how much room is left."""
    case = SlotIndexTests("test_loading_begins_again")
    case.setUp()
    try:
        for kind, number, (slot, state, provider) in schedule:
            path = paths.node(f"{number:010}")
            there = case.inspector.stat(path) is not None
            if kind == "write":
                data = encode_node(node("", state, slot=slot, provider=provider))
                case.inspector.set(path, data) if there else case.inspector.create(path, data)
            elif there:
                case.inspector.delete(path)
            case.settle()
            compare(case)
    finally:
        case.tearDown()


def compare(case: SlotIndexTests) -> None:
    ours = [n for n in case.nodes if n.provider == "rack"]
    assert len(case.index) == len(ours)
    for slot in (0, 1, 2, 3, -1, None):
        here = {n.id for n in ours if n.slot == slot}
        observed = case.index.observe(key(slot), case.taken.__contains__)
        assert set(case.index.ids_at(key(slot))) == here
        assert {s.node.id for s in observed.nodes} == here
        assert all(case.index.key_of(node_id) == key(slot) for node_id in here)
    assert set(case.index.keys()) == {key_of(n) for n in ours}
    in_range = [[n for n in ours if n.slot == slot] for slot in range(LIMIT)]
    crowded = any(len(nodes) > 1 for nodes in in_range) or len(ours) > sum(map(len, in_range))
    assert case.index.is_crowded(HOST.identity) == crowded
    empty = [s for s in range(LIMIT) if not in_range[s]]
    if crowded:
        assert case.spare() == (empty[0] if empty else None)
        running = [n for n in ours if n.state is NodeState.READY]
        held = [
            nodes
            for nodes in in_range
            if any(n.state is NodeState.HOLD for n in nodes)
            and not any(n.state is NodeState.READY for n in nodes)
        ]
        for slot in empty:
            assert case.room(slot) == LIMIT - len(running) - len(held)
    else:
        assert {case.room(slot) for slot in range(LIMIT)} == {AMPLE}
