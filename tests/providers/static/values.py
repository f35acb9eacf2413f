"""Values for tests of the static provider: short to write, valid as they are."""

from __future__ import annotations

from typing import Any

import attrs

from nodepool_tx.config.schema import StaticNode, StaticPool, StaticProvider
from nodepool_tx.model import Node, NodeState
from nodepool_tx.providers.static.desired import DesiredNode, SlotKey
from nodepool_tx.providers.static.observed import (
    HostFacts,
    HostState,
    ObservedSlot,
    SeenNode,
)
from nodepool_tx.providers.static.plan import fresh_node

KEYS = ("ssh-ed25519 AAAA", "ssh-rsa BBBB")

HOST = DesiredNode(
    provider="rack",
    pool="main",
    hostname="web1",
    username="zuul",
    port=22,
    slots=2,
    labels=("small", "any"),
)
UP = HostFacts(state=HostState.UP, keys=KEYS, ipv4="192.0.2.1", checked=10)
DOWN = HostFacts(
    state=HostState.DOWN, reason="web1:22: refused", since=90.0, failures=2, retry_at=105.0
)
UNKNOWN = HostFacts()
NOW = 100.0


def key(slot: int | None = 0, host: DesiredNode = HOST) -> SlotKey:
    return SlotKey(host.identity, slot)


def node(
    node_id: str = "0000000001",
    state: NodeState = NodeState.READY,
    *,
    slot: int | None = 0,
    host: DesiredNode = HOST,
    **changes: Any,
) -> Node:
    """A node as ``host`` wants it, but for the changes."""
    fresh = fresh_node(host, slot or 0, UP, 1.0)
    return attrs.evolve(fresh, id=node_id, state=state, slot=slot, **changes)


def seen(of: Node, *, locked: bool = False, reserved: bool = False, at: int = 5) -> SeenNode:
    return SeenNode(of, locked=locked, reserved=reserved, seen=at)


def slot(*nodes: Node | SeenNode, number: int | None = 0, **facts: Any) -> ObservedSlot:
    """What is observed of a slot."""
    as_seen = tuple(n if isinstance(n, SeenNode) else seen(n) for n in nodes)
    return ObservedSlot(key(number), as_seen, **facts)


def static_node(
    name: str = "web1", labels: tuple[str, ...] = ("small",), **more: Any
) -> StaticNode:
    return StaticNode(name=name, labels=labels, **more)


def static_pool(
    *nodes: StaticNode, name: str = "main", provider: str = "rack", **more: Any
) -> StaticPool:
    return StaticPool(
        name=name,
        provider_name=provider,
        nodes=nodes,
        labels=frozenset(label for n in nodes for label in n.labels),
        **more,
    )


def static_provider(*pools: StaticPool, name: str = "rack", **more: Any) -> StaticProvider:
    return StaticProvider(name=name, driver="static", pools=pools, **more)
