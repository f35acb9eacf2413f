"""What to do about one slot: a pure function from values to steps.

One slot at a time, so that an event costs the same however many nodes a
provider has.  Nothing in here reads a clock, logs, or knows Twisted.

What each state of a node means here, when nobody has it in hands (its lock is
free and no task of ours is about to change it):

* ``ready`` and promised to nobody: *free*.  It is kept like its definition,
  or removed if nothing wants it or its machine is down.
* ``used``, ``in-use``, ``building``, ``failed``, ``aborted``, ``deleting``,
  ``deleted``: *returned*.  Once its machine was looked at, a fresh node takes
  its place.  An operator's ``nodepool delete`` arrives here too.
* ``ready`` and promised, ``hold``: *kept from us*.  It holds its slot.
* ``init``, ``testing``: no static node is ever that.  It is left alone and
  counts for nothing.
"""

from __future__ import annotations

import enum
import json
from collections.abc import Mapping
from typing import Any

import attrs

from nodepool_tx.model import RETURNED_STATES, Node, NodeState
from nodepool_tx.providers.static.desired import DesiredNode, Identity, Look
from nodepool_tx.providers.static.observed import HostFacts, HostState, ObservedSlot, SeenNode

__all__ = [
    "LAUNCHER",
    "NEVER_STATIC",
    "Deregister",
    "Mode",
    "Probe",
    "Recycle",
    "Register",
    "Step",
    "Update",
    "Wait",
    "WaitFor",
    "WriteStep",
    "fresh_node",
    "is_kept_from_us",
    "plan",
]

#: What Nodepool 11 names as the launcher of a static node.
LAUNCHER = "static driver"

#: States that no static node goes through.
NEVER_STATIC = frozenset({NodeState.INIT, NodeState.TESTING})


class Mode(enum.Enum):
    """What the provider is up to."""

    ACTIVE = "active"
    #: Nothing is wanted any more.
    DRAINING = "draining"


class WaitFor(enum.Enum):
    """What a slot waits for."""

    #: Somebody holds the node's lock, or a task of ours the node.
    HANDS = "in use"
    #: It is promised to a request that has not taken it yet.
    PROMISE = "promised"
    HOLD = "held"
    #: The next look at its machine.
    HOST = "host down"
    #: Nodes too many of its machine are still in use.
    ROOM = "no room"
    #: An operator who took its machine out of service.
    OPERATOR = "out of service"
    #: A state that no static node should be in.
    STRANGE = "unexpected state"


@attrs.frozen
class Register:
    """Put a new node into an empty slot."""

    node: Node


@attrs.frozen
class Update:
    """Bring a free node in line with its definition, in place."""

    before: Node
    after: Node


@attrs.frozen
class Deregister:
    """Take a node out of service for good."""

    node: Node
    reason: str


@attrs.frozen
class Recycle:
    """Replace a returned node by a fresh one, at once."""

    old: Node
    new: Node


@attrs.frozen
class Probe:
    """Look at a machine; what is found is the reason for a new plan."""

    identity: Identity
    why: str


@attrs.frozen
class Wait:
    """Nothing can be done now.

    :ivar until: seconds, when time alone is reason enough for a new plan;
        None if an event will be.
    """

    what: WaitFor
    reason: str
    until: float | None = None


#: Steps that change something in ZooKeeper.
WriteStep = Register | Update | Deregister | Recycle
Step = WriteStep | Probe | Wait


def plan(
    desired: DesiredNode | None,
    slot: ObservedSlot,
    host: HostFacts,
    mode: Mode,
    now: float,
    withdrawn: str = "",
) -> tuple[Step, ...]:
    """What to do about a slot.

    :param desired: what should be in it; None if nothing should.  For the key
        of records that name no slot: their machine, if it is wanted at all.
    :param now: seconds since the epoch, for the records made and for waits.
    :param withdrawn: why its machine is out of service; "" if it is not.
    """
    if mode is Mode.DRAINING:
        desired = None
    elif withdrawn:
        return _plan_withdrawn(desired, slot, withdrawn)
    if slot.key.slot is None:
        return _plan_unslotted(desired, slot, host)
    steps: list[Step] = []
    keeper = _keeper(slot.nodes) if desired is not None else None
    for seen in slot.nodes:
        if seen is keeper and desired is not None:
            steps += _keep(desired, slot, seen, host, now)
        else:
            steps.append(_give_up(seen, _surplus_reason(desired, mode, slot)))
    if desired is not None and keeper is None:
        steps.append(_fill(desired, slot, host, now))
    return tuple(steps)


# -- kinds of nodes --------------------------------------------------------


def is_kept_from_us(node: Node, in_hands: bool) -> bool:
    """A node may not be touched: whatever is planned for it is to wait.

    :param in_hands: somebody has its lock, or it is reserved.
    """
    state = node.state
    return (
        in_hands
        or state is NodeState.HOLD
        or (state is NodeState.READY and bool(node.allocated_to))
        or state in NEVER_STATIC
    )


def _kept_from_us(seen: SeenNode) -> Wait | None:
    """Why a node may not be touched, or None if it may."""
    node = seen.node
    if not is_kept_from_us(node, seen.locked or seen.reserved):
        return None
    if seen.locked or seen.reserved:
        return Wait(WaitFor.HANDS, f"node {node.id} ({node.state.value}) is in use")
    if node.state is NodeState.HOLD:
        return Wait(WaitFor.HOLD, f"node {node.id} is held")
    if node.state is NodeState.READY and node.allocated_to:
        return Wait(WaitFor.PROMISE, f"node {node.id} is promised to {node.allocated_to}")
    return Wait(WaitFor.STRANGE, f"node {node.id} is {node.state.value}, and is left alone")


def _keeper(nodes: tuple[SeenNode, ...]) -> SeenNode | None:
    """The one node that stands for a slot: what we may not touch before what
    is free, that before what came back, then the oldest."""

    def rank(seen: SeenNode) -> tuple[int, str]:
        if is_kept_from_us(seen.node, seen.locked or seen.reserved):
            return (0, seen.node.id)
        return (1 if seen.node.state is NodeState.READY else 2, seen.node.id)

    candidates = [s for s in nodes if s.node.state not in NEVER_STATIC]
    if len(candidates) == 1:
        return candidates[0]
    return min(candidates, key=rank, default=None)


def _surplus_reason(desired: DesiredNode | None, mode: Mode, slot: ObservedSlot) -> str:
    if mode is Mode.DRAINING:
        return "the provider is no longer configured"
    if desired is None:
        return "no longer configured"
    return f"slot {slot.key.slot} has another node"


# -- what happens to them --------------------------------------------------


def _give_up(seen: SeenNode, reason: str) -> Step:
    wait = _kept_from_us(seen)
    if wait is not None:
        return wait
    assert seen.node.state is NodeState.READY or seen.node.state in RETURNED_STATES
    return Deregister(seen.node, reason)


def _plan_withdrawn(
    desired: DesiredNode | None, slot: ObservedSlot, reason: str
) -> tuple[Step, ...]:
    """Its machine is not even looked at: whoever works on it may have switched it off."""
    if slot.nodes or desired is None or slot.key.slot is None:
        return tuple(_give_up(seen, reason) for seen in slot.nodes)
    return (Wait(WaitFor.OPERATOR, reason),)


def _keep(
    desired: DesiredNode, slot: ObservedSlot, seen: SeenNode, host: HostFacts, now: float
) -> list[Step]:
    wait = _kept_from_us(seen)
    if wait is not None:
        return [wait]
    if host.state is HostState.DOWN:
        return [Deregister(seen.node, host.reason)]
    if seen.node.state is NodeState.READY:
        return _keep_free(desired, seen.node, host)
    if host.state is HostState.UP and host.checked >= seen.seen:
        assert slot.key.slot is not None
        return [Recycle(seen.node, fresh_node(desired, slot.key.slot, host, now))]
    return [Probe(desired.identity, f"node {seen.node.id} came back ({seen.node.state.value})")]


def _keep_free(desired: DesiredNode, node: Node, host: HostFacts) -> list[Step]:
    keys = _keys_to_record(desired, node, host)
    if keys is None:
        return [Probe(desired.identity, f"the host keys of node {node.id} have to be gathered")]
    after = _as_defined(desired, node, keys)
    # ``==`` takes 1 and true for the same; attributes that differ are other objects.
    unchanged = after == node and after.attributes is node.attributes
    return [] if unchanged else [Update(node, after)]


def _fill(desired: DesiredNode, slot: ObservedSlot, host: HostFacts, now: float) -> Step:
    """An empty slot: register a node if its machine is known to be up."""
    if slot.room <= 0:
        return Wait(WaitFor.ROOM, f"more than {desired.slots} nodes of the host are still in use")
    if host.state is HostState.DOWN and now < host.retry_at:
        return Wait(WaitFor.HOST, host.reason, until=host.retry_at)
    if host.state is HostState.UP and host.checked >= slot.empty_since:
        assert slot.key.slot is not None
        return Register(fresh_node(desired, slot.key.slot, host, now))
    why = "is it back?" if host.state is HostState.DOWN else f"slot {slot.key.slot} is empty"
    return Probe(desired.identity, why)


def _plan_unslotted(
    desired: DesiredNode | None, slot: ObservedSlot, host: HostFacts
) -> tuple[Step, ...]:
    """Records that name no slot, as old versions wrote them: one at a time
    gets a slot that nobody has, the rest is too many."""
    nodes = sorted(slot.nodes, key=lambda seen: seen.node.id)
    if desired is None or slot.spare is None or host.state is HostState.DOWN:
        reason = host.reason or "its host has no slot for it"
        return tuple(_give_up(seen, reason) for seen in nodes)
    steps: list[Step] = []
    given = False
    for seen in nodes:
        free = _kept_from_us(seen) is None and seen.node.state is NodeState.READY
        if free and given:
            steps.append(Wait(WaitFor.ROOM, f"node {seen.node.id} is next to get a slot"))
        elif free:
            steps.append(Update(seen.node, seen.node.changed(slot=slot.spare)))
            given = True
        else:
            steps.append(_give_up(seen, "it names no slot"))
    return tuple(steps)


# -- records ---------------------------------------------------------------


def fresh_node(desired: DesiredNode, slot: int, host: HostFacts, now: float) -> Node:
    """The record of a new node, ready to be handed out."""
    return Node(
        state=NodeState.READY,
        state_time=now,
        created_time=now,
        provider=desired.provider,
        pool=desired.pool,
        type=desired.labels,
        launcher=LAUNCHER,
        external_id=desired.hostname,
        hostname=desired.hostname,
        interface_ip=desired.hostname,
        public_ipv4=host.ipv4,
        public_ipv6=host.ipv6,
        username=desired.username,
        connection_port=desired.port,
        connection_type=desired.connection_type,
        shell_type=desired.shell_type,
        python_path=desired.python_path,
        host_keys=host.keys,
        attributes=desired.attributes,
        slot=slot,
    )


def _as_defined(desired: DesiredNode, node: Node, keys: tuple[str, ...]) -> Node:
    """The record of a free node as its definition is now.

    Its address stays: a name may have several, and asking for it again gives
    another one.
    """
    return node.changed(
        pool=desired.pool,
        type=desired.labels,
        connection_type=desired.connection_type,
        shell_type=desired.shell_type,
        python_path=desired.python_path,
        host_keys=node.host_keys if set(keys) == set(node.host_keys) else keys,
        attributes=node.attributes
        if _same(node.attributes, desired.attributes)
        else desired.attributes,
    )


def _keys_to_record(desired: DesiredNode, node: Node, host: HostFacts) -> tuple[str, ...] | None:
    """The host keys a free node should show; None if only a look can tell."""
    if desired.look is Look.NONE:
        return desired.host_keys
    if desired.look is Look.PORT:
        return ()
    if host.state is HostState.UP:
        return host.keys
    if node.host_keys and set(desired.host_keys) <= set(node.host_keys):
        return node.host_keys
    return None


def _same(one: Mapping[str, Any] | None, other: Mapping[str, Any] | None) -> bool:
    """The same JSON: ``1`` and ``true`` differ, no attributes and none at all do not."""
    if not one and not other:
        return True
    return json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)
