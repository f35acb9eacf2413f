"""Nodes that need somebody who is not there."""

from __future__ import annotations

from collections.abc import Iterator

from nodepool_tx.check.farm import Farm
from nodepool_tx.check.findings import Finding
from nodepool_tx.check.repairs import Delete, Deregister
from nodepool_tx.config.schema import StaticProvider
from nodepool_tx.model import Node, NodeState
from nodepool_tx.providers.static.plan import LAUNCHER
from nodepool_tx.store import paths

__all__ = ["abandoned_nodes", "is_static", "providers_unserved"]

#: Somebody makes such a node, and holds its lock while doing so.
_MAKING = (NodeState.INIT, NodeState.BUILDING, NodeState.TESTING)

#: A launcher takes such a node back as soon as nobody holds its lock.
_RETURNED = (
    NodeState.IN_USE,
    NodeState.USED,
    NodeState.FAILED,
    NodeState.ABORTED,
    NodeState.DELETED,
)


def is_static(node: Node, farm: Farm) -> bool:
    """Its provider only lists machines, as far as is known."""
    config = farm.config.providers.get(node.provider or "") if farm.config else None
    if config is not None:
        return isinstance(config, StaticProvider)
    return node.launcher == LAUNCHER


def abandoned_nodes(farm: Farm) -> Iterator[Finding]:
    """Nodes in a state in which somebody should hold their lock, or delete them."""
    for node in farm.nodes.values():
        if farm.is_locked(node.id):
            continue
        found = _abandoned(node, farm)
        if found is not None:
            yield found


def _abandoned(node: Node, farm: Farm) -> Finding | None:
    age, ages = farm.age(node.state_time), farm.ages
    if not farm.serves(node.provider or ""):
        # Told once for the whole provider, whose launcher may be on its way back.
        return None
    if node.state is NodeState.INIT and age <= ages.swept:
        # A launcher looks for those that it promised and never began to make.
        return None
    if node.state in _MAKING:
        return _of(
            "node-abandoned",
            node,
            f"it is {node.state.value}, and nobody holds its lock",
            repair=Delete(node),
        )
    if node.state in _RETURNED and age > ages.swept:
        return _of(
            "node-not-returned",
            node,
            f"it is {node.state.value} in nobody's hands for {age:.0f} s",
            left=f"the launcher that has provider {node.provider} should take it back: see its log",
        )
    if node.state is NodeState.DELETING and age > ages.overdue:
        return _of(
            "node-not-deleted",
            node,
            f"it is being deleted for {age:.0f} s, and nobody holds its lock",
            left=f"the launcher that has provider {node.provider} cannot delete it: see its log",
        )
    return None


def _of(code: str, node: Node, words: str, repair: Delete | None = None, left: str = "") -> Finding:
    return Finding(
        code=code,
        what=f"node {node.id}",
        path=paths.node(node.id),
        words=words,
        provider=node.provider,
        repair=repair,
        left=left,
        evidence=node.mzxid,
    )


# -- providers -----------------------------------------------------------------


def providers_unserved(farm: Farm) -> Iterator[Finding]:
    """Providers with nodes that no launcher online looks after."""
    nodes: dict[str, list[Node]] = {}
    for node in farm.nodes.values():
        nodes.setdefault(node.provider or "", []).append(node)
    for name in sorted(nodes):
        if farm.serves(name):
            continue
        if farm.config is None or name in farm.config.providers:
            yield _unserved(name, nodes[name], farm)
        else:
            yield from _left_behind(name, nodes[name], farm)


def _unserved(name: str, nodes: list[Node], farm: Farm) -> Finding:
    why = "" if farm.config is not None else "; whether it is configured is not known here"
    return Finding(
        code="provider-unserved",
        what=f"provider {name}",
        path=paths.NODES,
        provider=name,
        words=f"no launcher online has it, and it has {_counted(nodes)}{why}",
        left="start a launcher that has it",
        evidence=name,
    )


def _left_behind(name: str, nodes: list[Node], farm: Farm) -> Iterator[Finding]:
    static = [node for node in nodes if is_static(node, farm)]
    removable = tuple(node for node in static if _is_removable(node, farm))
    in_use = [node for node in static if not _is_removable(node, farm)]
    cloud = [node for node in nodes if not is_static(node, farm)]
    told = f"provider {name or '(none)'}"
    gone = "it is not configured, no launcher online has it"
    if removable:
        yield Finding(
            code="static-left-behind",
            what=told,
            path=paths.NODES,
            provider=name,
            words=f"{gone}, and it has {_counted(removable)} that nobody uses",
            repair=Deregister(removable),
            evidence=tuple((node.id, node.mzxid) for node in removable),
        )
    if in_use:
        yield Finding(
            code="static-left-in-use",
            what=told,
            path=paths.NODES,
            provider=name,
            words=f"{gone}, and it has {_counted(in_use)} in use or held",
            left="check again when they have come back",
            evidence=tuple(node.id for node in in_use),
        )
    if cloud:
        yield Finding(
            code="cloud-left-behind",
            what=told,
            path=paths.NODES,
            provider=name,
            words=f"{gone}, and it has {_counted(cloud)} with servers in a cloud",
            left="configure it and take it out again while a launcher runs; or delete the servers "
            f"by hand, then: nodepool erase {name}",
            evidence=tuple(node.id for node in cloud),
        )


def _is_removable(node: Node, farm: Farm) -> bool:
    """Nobody has it, nobody is to get it, and nobody keeps it."""
    if farm.is_locked(node.id) or node.state in (NodeState.HOLD, NodeState.IN_USE):
        return False
    return not (node.state is NodeState.READY and node.allocated_to)


def _counted(nodes: list[Node] | tuple[Node, ...]) -> str:
    ids = sorted(node.id for node in nodes)
    more = f" and {len(ids) - 3} more" if len(ids) > 3 else ""
    return f"{len(ids)} node{'' if len(ids) == 1 else 's'} ({', '.join(ids[:3])}{more})"
