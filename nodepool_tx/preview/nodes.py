"""What would become of the nodes of one provider.

For static nodes the launcher's own planner is asked slot by slot, with every
machine taken to be up: whether one is down is seen when it is looked at, and
then its nodes are not registered until it is back.
"""

from __future__ import annotations

import enum
from collections.abc import Collection, Iterator

import attrs

from nodepool_tx.config.schema import StaticProvider
from nodepool_tx.model import RETURNED_STATES, Node, NodeState
from nodepool_tx.providers.static.desired import (
    Desired,
    DesiredNode,
    Look,
    SlotKey,
    desired_of,
)
from nodepool_tx.providers.static.observed import (
    AMPLE,
    HostFacts,
    HostState,
    ObservedSlot,
    SeenNode,
)
from nodepool_tx.providers.static.plan import (
    Deregister,
    Mode,
    Register,
    Step,
    Update,
    Wait,
    WaitFor,
    plan,
)
from nodepool_tx.providers.static.slots import SlotIndex
from nodepool_tx.store.maintenance import MaintenanceTable, in_words
from nodepool_tx.store.nodes import NodeTable

__all__ = ["Effect", "NodeEffect", "cloud_effects", "static_effects"]

#: After everything that was ever noticed.
_NOW_SEEN = 1

#: Stands for the keys of a machine that nobody has asked for them yet.
_TO_BE_GATHERED = ("to be gathered",)

#: What of a node's record is worth telling when it changes.
_TOLD = {
    "pool": "pool",
    "type": "labels",
    "connection_type": "connection-type",
    "shell_type": "shell-type",
    "python_path": "python-path",
    "host_keys": "host-key",
    "attributes": "node-attributes",
    "slot": "slot",
}


class Effect(enum.Enum):
    """What happens to a node."""

    REGISTERED = "registered"
    CHANGED = "changed"
    DEREGISTERED = "deregistered"
    #: The server is deleted with its record.
    DELETED = "deleted"


@attrs.frozen(kw_only=True)
class NodeEffect:
    """What a reload would do to one node; what it leaves alone has none.

    :ivar node_id: None for one that is to be registered.
    :ivar name: the host's name with its port, or the server's id.
    :ivar in_use: it is in somebody's hands, promised or held: it happens when
        it comes back.  One that is to be registered so long waits for another
        node of its machine.
    :ivar words: why, or what changes.
    """

    effect: Effect
    provider: str
    pool: str
    name: str
    node_id: str | None = None
    slot: int | None = None
    state: str = ""
    in_use: bool = False
    words: str = ""


def static_effects(
    name: str,
    config: StaticProvider | None,
    nodes: NodeTable,
    maintenance: MaintenanceTable,
    now: float,
) -> Iterator[NodeEffect]:
    """Slot by slot what becomes of a static provider's nodes.

    :param config: as it is to be; None if the provider is to go.
    """
    desired = desired_of(config) if config is not None else Desired({})
    mode = Mode.ACTIVE if config is not None else Mode.DRAINING
    slots = SlotIndex(name, desired, nodes)
    slots.load(0)
    away = maintenance.of_provider(name)
    for key in sorted({*slots.keys(), *desired.slot_keys()}, key=_place):
        host = desired.hosts.get(key.identity)
        wanted = host if key.slot is None else desired.at(key)
        record = away or maintenance.of_host(str(key.identity[0]))
        withdrawn = "" if record is None else in_words(record, now)
        observed = slots.observe(key, lambda _: False)
        yield from _effects_at(name, key, wanted, observed, mode, now, withdrawn)


def _place(key: SlotKey) -> tuple[str, int]:
    """The order in which people look for a slot."""
    return (str(key.identity), -1 if key.slot is None else key.slot)


def _effects_at(
    provider: str,
    key: SlotKey,
    wanted: DesiredNode | None,
    slot: ObservedSlot,
    mode: Mode,
    now: float,
    withdrawn: str,
) -> Iterator[NodeEffect]:
    steps = plan(wanted, slot, _up(wanted, slot), mode, now, withdrawn)
    touched: set[str] = set()
    for step in steps:
        seen = next((each for each in slot.nodes if each.node.id == _node_id(step)), None)
        found = _effect(provider, step, seen)
        if found is not None:
            touched.add(found.node_id or "")
            yield found
    if slot.key.slot is not None and slot.room <= 0:
        # Too many nodes of its machine are still in use: what if there were room?
        for step in plan(wanted, attrs.evolve(slot, room=AMPLE), _up(wanted, slot), mode, now):
            found = _effect(provider, step, None) if isinstance(step, Register) else None
            if found is not None and not withdrawn:
                yield attrs.evolve(found, in_use=True)
    for seen in slot.nodes:
        if seen.node.id in touched or not _is_kept(seen):
            continue
        # In somebody's hands now: what if it were free?
        later = attrs.evolve(slot, nodes=(_freed(seen),))
        for step in plan(wanted, later, _up(wanted, later), mode, now, withdrawn):
            found = _effect(provider, step, seen) if _node_id(step) == seen.node.id else None
            if found is not None:
                yield attrs.evolve(found, in_use=True)


def _up(wanted: DesiredNode | None, slot: ObservedSlot) -> HostFacts:
    """Its machine shows the keys that are recorded, or those the file asks for."""
    recorded = next((seen.node.host_keys for seen in slot.nodes if seen.node.host_keys), ())
    asked = wanted.host_keys if wanted is not None else ()
    keys = recorded if set(asked) <= set(recorded) else asked
    if not keys and wanted is not None and wanted.look is Look.KEYS:
        keys = _TO_BE_GATHERED
    return HostFacts(HostState.UP, keys=tuple(keys), checked=_NOW_SEEN)


def _is_kept(seen: SeenNode) -> bool:
    node = seen.node
    return bool(seen.locked or node.allocated_to or node.state is NodeState.HOLD)


def _freed(seen: SeenNode) -> SeenNode:
    node = attrs.evolve(seen.node, state=NodeState.READY, allocated_to=None)
    return attrs.evolve(seen, node=node, locked=False, reserved=False)


def _node_id(step: Step) -> str | None:
    if isinstance(step, Update):
        return step.before.id
    return step.node.id if isinstance(step, Deregister) else None


def _effect(provider: str, step: Step, seen: SeenNode | None) -> NodeEffect | None:
    if isinstance(step, Wait) and step.what is WaitFor.OPERATOR:
        return None
    if isinstance(step, Register):
        node = step.node
        words = f"labels {', '.join(node.type)}"
        return _of(Effect.REGISTERED, provider, node, words, node_id=None, state="")
    if isinstance(step, Update):
        return _of(Effect.CHANGED, provider, step.after, _differences(step.before, step.after))
    if isinstance(step, Deregister):
        shown = seen.node if seen is not None else step.node
        if shown.state in RETURNED_STATES and not (seen and seen.locked):
            words = f"{step.reason}, and it is {shown.state.value}"
        else:
            words = step.reason
        return _of(Effect.DEREGISTERED, provider, shown, words)
    return None


def _of(effect: Effect, provider: str, node: Node, words: str, **more: str | None) -> NodeEffect:
    fields: dict[str, str | None] = {"node_id": node.id, "state": node.state.value, **more}
    port = f":{node.connection_port}" if isinstance(node.connection_port, int) else ""
    return NodeEffect(
        effect=effect,
        provider=provider,
        pool=node.pool or "",
        name=f"{node.username or ''}@{node.hostname}{port}".removeprefix("@"),
        slot=node.slot,
        words=words,
        node_id=fields["node_id"],
        state=fields["state"] or "",
    )


def _differences(before: Node, after: Node) -> str:
    told = []
    for field, word in _TOLD.items():
        one, other = getattr(before, field), getattr(after, field)
        if one == other and not (field == "attributes" and one is not other):
            continue
        if field in ("host_keys", "attributes"):
            told.append(f"{word} differs")
        else:
            told.append(f"{word} {_shown(one)} -> {_shown(other)}")
    return "; ".join(told)


def _shown(value: object) -> str:
    if isinstance(value, (tuple, list)):
        return ",".join(str(item) for item in value) or "none"
    return "none" if value is None else str(value)


def cloud_effects(
    provider: str, offers: Collection[tuple[str, str]], nodes: NodeTable
) -> Iterator[NodeEffect]:
    """What becomes of the servers of a provider that makes its nodes.

    :param offers: pool and label of all that it is to have; empty if it is to go.
    """
    for node in sorted(nodes.of_provider(provider), key=lambda node: node.id):
        if any((node.pool, label) in offers for label in node.type):
            continue
        if node.state in RETURNED_STATES and not nodes.is_locked(node.id):
            # It goes anyway.
            continue
        yield NodeEffect(
            effect=Effect.DELETED,
            provider=provider,
            pool=node.pool or "",
            name=node.hostname or node.external_id or "",
            node_id=node.id,
            state=node.state.value,
            in_use=bool(
                nodes.is_locked(node.id) or node.allocated_to or node.state is NodeState.HOLD
            ),
            words=f"label {', '.join(node.type)} is no longer offered in pool {node.pool}"
            if offers
            else "the provider is no longer configured",
        )
