"""What holds for every plan, whatever there is.

A *world* is one machine with its nodes in any state, and what is known of it.
Plans are carried out on it in memory, by rules simpler than ZooKeeper's.
"""

from __future__ import annotations

import itertools

import attrs
from hypothesis import given, settings
from hypothesis import strategies as st

from nodepool_tx.model import RETURNED_STATES, Node, NodeState
from nodepool_tx.providers.static.desired import DesiredNode, SlotKey, key_of
from nodepool_tx.providers.static.observed import (
    AMPLE,
    HostFacts,
    HostState,
    ObservedSlot,
    SeenNode,
)
from nodepool_tx.providers.static.plan import (
    NEVER_STATIC,
    Deregister,
    Mode,
    Probe,
    Recycle,
    Register,
    Step,
    Update,
    Wait,
    plan,
)
from tests.providers.static.values import DOWN, HOST, KEYS, NOW, UNKNOWN, UP

WITHDRAWN = "host web1 is in maintenance"

ROOMLESS = NEVER_STATIC | {NodeState.HOLD}


@attrs.define
class World:
    """A machine, its nodes, and everything noticed so far."""

    desired: DesiredNode | None
    mode: Mode
    nodes: dict[str, SeenNode]
    host: HostFacts
    answers: bool
    withdrawn: str = ""
    looks: int = 0
    clock: int = 100
    ids: itertools.count[int] = attrs.field(factory=lambda: itertools.count(1000))
    emptied: dict[SlotKey, int] = attrs.field(factory=dict)

    def slot_keys(self) -> list[SlotKey]:
        there = {key_of(seen.node) for seen in self.nodes.values()}
        wanted = set(self.desired.slot_keys()) if self.desired else set()
        return sorted(there | wanted, key=lambda k: (k.slot is not None, k.slot or 0))

    def at(self, key: SlotKey) -> list[SeenNode]:
        return [s for s in self.nodes.values() if key_of(s.node) == key]

    def wanted_at(self, key: SlotKey) -> DesiredNode | None:
        if self.desired is None or key.slot is None:
            return self.desired
        return self.desired if self.desired.has_slot(key.slot) else None

    def observe(self, key: SlotKey) -> ObservedSlot:
        """What the slot index would say: counts only where there are too many."""
        room, spare = AMPLE, None
        if self.desired is not None:
            slots = set(self.desired.slot_keys())
            crowded = any(len(self.at(k)) > (1 if k in slots else 0) for k in self.slot_keys())
            empty = [k.slot for k in self.desired.slot_keys() if not self.at(k)]
            if crowded and key.slot is None:
                spare = min((s for s in empty if s is not None), default=None)
            elif crowded:
                room = self.desired.slots - len(self.taking_room())
        return ObservedSlot(key, tuple(self.at(key)), self.emptied.get(key, 0), room, spare)

    def taking_room(self) -> list[Node]:
        nodes = [s.node for s in self.nodes.values()]
        return [n for n in nodes if n.state not in NEVER_STATIC]

    def running(self) -> int:
        """Nodes that run a job, or could be given one."""
        return sum(1 for s in self.nodes.values() if s.node.state not in ROOMLESS)

    def plan(self, key: SlotKey) -> tuple[Step, ...]:
        host = self.host if self.desired else UNKNOWN
        return plan(self.wanted_at(key), self.observe(key), host, self.mode, NOW, self.withdrawn)

    def carry_out(self, step: Step) -> None:
        self.clock += 1
        if isinstance(step, Register):
            self._add(step.node)
        elif isinstance(step, Update):
            assert self.nodes[step.before.id].node == step.before
            self._remove(step.before)
            self.nodes[step.after.id] = SeenNode(step.after, seen=self.clock)
        elif isinstance(step, Deregister):
            self._remove(step.node)
        elif isinstance(step, Recycle):
            self._remove(step.old)
            self._add(step.new)
        elif isinstance(step, Probe):
            self.looks += 1
            self.host = (
                attrs.evolve(UP, checked=self.clock)
                if self.answers
                else attrs.evolve(DOWN, retry_at=NOW + 5)
            )

    def _add(self, new: Node) -> None:
        made = attrs.evolve(new, id=f"{next(self.ids):010}")
        self.nodes[made.id] = SeenNode(made, seen=self.clock)

    def _remove(self, gone: Node) -> None:
        del self.nodes[gone.id]
        self.emptied[key_of(gone)] = self.clock

    def settle(self) -> int:
        """Plan and carry out until nothing changes any more; returns the rounds."""
        for rounds in range(50):
            changed = False
            for key in self.slot_keys():
                for step in self.plan(key):
                    if not isinstance(step, Wait):
                        changed = True
                        self.carry_out(step)
            if not changed:
                return rounds
        raise AssertionError(f"no end to it: {[self.plan(k) for k in self.slot_keys()]}")


LABELS = st.sampled_from([HOST.labels, ("old",), ()])
STATES = st.sampled_from(list(NodeState))


@st.composite
def seen_nodes(draw: st.DrawFn, node_id: str) -> SeenNode:
    state = draw(STATES)
    record = Node(
        id=node_id,
        state=state,
        provider="rack",
        pool=draw(st.sampled_from(["main", "other"])),
        hostname=HOST.hostname,
        username=HOST.username,
        connection_port=HOST.port,
        slot=draw(st.sampled_from([None, 0, 0, 1, 1, 2, 3, -1])),
        type=draw(LABELS),
        allocated_to=draw(st.sampled_from([None, None, "100-0000000001"])),
        connection_type=draw(st.sampled_from(["ssh", "winrm", None])),
        host_keys=draw(st.sampled_from([KEYS, (), ("ssh-rsa OLD",)])),
        attributes=draw(st.sampled_from([None, {}, {"a": 1}])),
    )
    return SeenNode(
        record,
        locked=draw(st.booleans()) and draw(st.booleans()),
        reserved=draw(st.booleans()) and draw(st.booleans()),
        seen=draw(st.integers(0, 99)),
    )


@st.composite
def worlds(draw: st.DrawFn) -> World:
    desired = draw(
        st.none()
        | st.builds(
            lambda slots, kind, checking, keys, attributes: attrs.evolve(
                HOST,
                slots=slots,
                connection_type=kind,
                host_key_checking=checking,
                host_keys=keys,
                attributes=attributes,
            ),
            st.integers(0, 3),
            st.sampled_from(["ssh", "winrm"]),
            st.booleans(),
            st.sampled_from([(), KEYS[:1]]),
            st.sampled_from([None, {"a": 1}, {"a": True}]),
        )
    )
    ids = [f"{i:010}" for i in range(draw(st.integers(0, 5)))]
    return World(
        desired=desired,
        mode=draw(st.sampled_from([Mode.ACTIVE, Mode.ACTIVE, Mode.DRAINING])),
        nodes={node_id: draw(seen_nodes(node_id)) for node_id in ids},
        host=draw(
            st.sampled_from(
                [UNKNOWN, UP, attrs.evolve(UP, checked=-1), DOWN, attrs.evolve(DOWN, retry_at=NOW)]
            )
        ),
        answers=draw(st.booleans()),
        withdrawn=draw(st.sampled_from(["", "", "", WITHDRAWN])),
    )


def untouchable(seen: SeenNode) -> bool:
    """Said again, independently of the plan: who may not be changed."""
    record = seen.node
    return (
        seen.locked
        or seen.reserved
        or record.state in (NodeState.HOLD, NodeState.INIT, NodeState.TESTING)
        or (record.state is NodeState.READY and bool(record.allocated_to))
    )


def changed_by(step: Step) -> Node | None:
    if isinstance(step, Update):
        return step.before
    if isinstance(step, Recycle):
        return step.old
    return step.node if isinstance(step, Deregister) else None


@given(worlds())
@settings(max_examples=400)
def test_nothing_is_left_to_do_once_everything_was_done(world: World) -> None:
    """It converges, and a converged world plans nothing but waits."""
    world.settle()
    assert all(isinstance(step, Wait) for key in world.slot_keys() for step in world.plan(key))


@given(worlds())
@settings(max_examples=400)
def test_nobodys_node_is_taken_out_of_their_hands(world: World) -> None:
    """Locked, reserved, held and promised nodes are the same afterwards."""
    kept = {i: s for i, s in world.nodes.items() if untouchable(s)}
    world.settle()
    assert {i: world.nodes.get(i) for i in kept} == kept


@given(worlds())
@settings(max_examples=400)
def test_every_single_plan_touches_only_what_it_may(world: World) -> None:
    """Also a plan that is never carried out names only nodes it may change, once each."""
    for key in world.slot_keys():
        changed = [n.id for s in world.plan(key) if (n := changed_by(s)) is not None]
        assert len(changed) == len(set(changed))
        assert not [i for i in changed if untouchable(world.nodes[i])]
        assert {key_of(world.nodes[i].node) for i in changed} <= {key}


@given(worlds())
@settings(max_examples=400)
def test_max_parallel_jobs_is_never_exceeded(world: World) -> None:
    """No step takes a host beyond its slots, or further beyond."""
    limit = world.desired.slots if world.desired else 0
    for _ in range(20):
        for key in world.slot_keys():
            for step in world.plan(key):
                before = world.running()
                world.carry_out(step)
                assert world.running() <= max(limit, before)


@given(worlds())
@settings(max_examples=400)
def test_no_more_is_removed_than_there_is_too_much(world: World) -> None:
    """A wanted slot of a host not known to be down keeps a node it had, whatever its state;
    a record without a slot goes only when there is none for it."""
    desired = world.desired
    if desired is None or world.mode is Mode.DRAINING or world.host.state is HostState.DOWN:
        return
    if world.withdrawn:
        return
    for key in world.slot_keys():
        there = [s.node for s in world.at(key) if s.node.state not in NEVER_STATIC]
        removed = [step.node for step in world.plan(key) if isinstance(step, Deregister)]
        if desired.has_slot(key.slot):
            assert len(removed) < max(1, len(there))
        elif key.slot is None and world.observe(key).spare is not None:
            assert not [n for n in removed if n.state is NodeState.READY]


@given(worlds())
@settings(max_examples=400)
def test_a_settled_host_that_answers_is_fully_in_service(world: World) -> None:
    """Every slot has a node as defined, unless something in use is in the way."""
    world.answers = True
    if world.host.state is HostState.DOWN:
        world.host = UNKNOWN
    world.settle()
    desired = world.desired
    if desired is None or world.mode is Mode.DRAINING or world.withdrawn:
        assert all(untouchable(s) for s in world.nodes.values())
        return
    for seen in world.nodes.values():
        record = seen.node
        if not untouchable(seen):
            assert record.state is NodeState.READY
            assert record.type == desired.labels
            assert record.pool == desired.pool
            assert (record.attributes or None) == desired.attributes
            assert record.connection_type == desired.connection_type
            assert desired.has_slot(record.slot)
    if not any(untouchable(s) for s in world.nodes.values()):
        assert len(world.nodes) == desired.slots


@given(worlds())
@settings(max_examples=200)
def test_a_dead_host_keeps_nothing_in_service(world: World) -> None:
    """Once it is known to be down, only what others have in hands is left of it."""
    world.host = DOWN
    world.answers = False
    world.settle()
    assert all(untouchable(s) for s in world.nodes.values())


@given(worlds())
@settings(max_examples=400)
def test_a_withdrawn_host_is_emptied_and_left_alone(world: World) -> None:
    """Nothing is registered, updated or looked at; what is free goes, and the plan says why."""
    world.withdrawn = WITHDRAWN
    there = set(world.nodes)
    for key in world.slot_keys():
        for step in world.plan(key):
            assert isinstance(step, (Deregister, Wait))
            if isinstance(step, Deregister) and world.mode is Mode.ACTIVE:
                assert step.reason == WITHDRAWN
    world.settle()
    assert world.looks == 0
    assert set(world.nodes) <= there
    assert all(untouchable(s) for s in world.nodes.values())


@given(worlds())
@settings(max_examples=400)
def test_a_host_that_returns_is_as_if_it_had_never_been_away(world: World) -> None:
    """Once it was emptied and looked at again, every slot that is not in use has its node."""
    world.withdrawn, world.answers = WITHDRAWN, True
    world.settle()
    in_use = set(world.nodes)
    world.withdrawn, world.host = "", UNKNOWN
    world.settle()
    assert in_use <= set(world.nodes)
    if world.desired is not None and world.mode is Mode.ACTIVE and not in_use:
        assert len(world.nodes) == world.desired.slots


@given(STATES, st.booleans(), st.booleans())
def test_returned_means_returned(state: NodeState, locked: bool, wanted: bool) -> None:
    """A state counts as returned exactly when the model says so and nobody has the node."""
    record = Node(id="1", state=state, provider="rack", slot=0, hostname="web1")
    world = World(
        HOST if wanted else None, Mode.ACTIVE, {"1": SeenNode(record, locked=locked)}, UP, True
    )
    key = key_of(record)
    replaced = [s for s in world.plan(key) if isinstance(s, Recycle)]
    expected = key == SlotKey(HOST.identity, 0) and wanted and not locked
    assert bool(replaced) == (expected and state in RETURNED_STATES)
