"""Slots of static machines: compared with what the launcher's own planner would do."""

from __future__ import annotations

from collections.abc import Iterator

from nodepool_tx.check.farm import Farm
from nodepool_tx.check.findings import Finding
from nodepool_tx.check.nodes import is_static
from nodepool_tx.check.repairs import Deregister
from nodepool_tx.model import Maintenance, Node, NodeState
from nodepool_tx.preview.nodes import Effect, NodeEffect
from nodepool_tx.providers.static.desired import SlotKey, key_of
from nodepool_tx.providers.static.plan import NEVER_STATIC
from nodepool_tx.store import paths

__all__ = ["slots_wrong"]


def slots_wrong(farm: Farm) -> Iterator[Finding]:
    """Slots with several nodes, with none, and nodes where none should be.

    What is in somebody's hands goes when it comes back, so that is only wrong
    where two nodes share a slot.
    """
    going = {
        effect.node_id: effect
        for effects in farm.effects.values()
        for effect in effects
        if effect.effect is Effect.DEREGISTERED and not effect.in_use and effect.node_id
    }
    doubled = set()
    for provider, key, nodes in _crowded(farm):
        for node in _surplus(nodes, going):
            doubled.add(node.id)
            yield _doubled(provider, key, node, nodes, removable=node.id in going)
    for node_id, effect in going.items():
        misplaced = farm.nodes.get(node_id)
        if misplaced is None or misplaced.state is not NodeState.READY or node_id in doubled:
            # What came back goes with whoever takes it back.
            continue
        if farm.serves(effect.provider):
            yield _misplaced(misplaced, effect, farm)
    for provider, effects in farm.effects.items():
        if farm.serves(provider):
            missing = (effect for effect in effects if effect.effect is Effect.REGISTERED)
            yield from map(_missing, missing)


def _crowded(farm: Farm) -> Iterator[tuple[str, SlotKey, list[Node]]]:
    slots: dict[tuple[str, SlotKey], list[Node]] = {}
    for node in farm.nodes.values():
        if node.slot is None or node.state in NEVER_STATIC or not is_static(node, farm):
            continue
        slots.setdefault((node.provider or "", key_of(node)), []).append(node)
    for (provider, key), nodes in slots.items():
        if len(nodes) > 1:
            yield provider, key, sorted(nodes, key=lambda node: node.id)


def _surplus(nodes: list[Node], going: dict[str, NodeEffect]) -> list[Node]:
    """All but the one that stays: one that the planner would not remove, the oldest of those."""
    staying = next((node for node in nodes if node.id not in going), nodes[0])
    return [node for node in nodes if node is not staying]


def _doubled(
    provider: str, key: SlotKey, node: Node, nodes: list[Node], removable: bool
) -> Finding:
    others = ", ".join(other.id for other in nodes if other is not node)
    return Finding(
        code="static-doubled",
        what=f"node {node.id}",
        path=paths.node(node.id),
        provider=provider,
        words=f"slot {key.slot} of {_machine(node)} has node {others}, too",
        repair=Deregister((node,)) if removable else None,
        left="" if removable else "it goes when whoever has it gives it back",
        evidence=(key, tuple(each.id for each in nodes)),
    )


def _misplaced(node: Node, effect: NodeEffect, farm: Farm) -> Finding:
    away = _withdrawn(node, farm)
    return Finding(
        code="static-out-of-service" if away is not None else "static-not-configured",
        what=f"node {node.id}",
        path=paths.node(node.id),
        provider=effect.provider,
        words=f"{_machine(node)}, slot {node.slot}: {effect.words}",
        repair=Deregister((node,)),
        evidence=node.mzxid,
    )


def _withdrawn(node: Node, farm: Farm) -> Maintenance | None:
    for record in farm.maintenance:
        if record.host is not None and record.host == node.hostname:
            return record
        if record.provider is not None and record.provider == node.provider:
            return record
    return None


def _missing(effect: NodeEffect) -> Finding:
    return Finding(
        code="static-missing",
        what=f"slot {effect.slot} of {effect.name}",
        path=paths.NODES,
        provider=effect.provider,
        words="it has no node",
        left="its launcher registers one when the host answers: nodepool info "
        f"{effect.provider}, and the launcher's log, tell why it does not",
        evidence=(effect.provider, effect.name, effect.slot),
    )


def _machine(node: Node) -> str:
    return f"{node.hostname}:{node.connection_port}"
