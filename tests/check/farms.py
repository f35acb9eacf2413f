"""Farms for finders: frozen values, made by hand."""

from __future__ import annotations

from typing import Any

from kazoo.protocol.states import ZnodeStat

from nodepool_tx.check.farm import Farm, Holder
from nodepool_tx.check.finding import find
from nodepool_tx.check.findings import Finding
from nodepool_tx.config.frozen import FrozenMapping
from nodepool_tx.config.schema import (
    Config,
    Label,
    ProviderConfig,
    StaticNode,
    StaticPool,
    StaticProvider,
)
from nodepool_tx.model import (
    Node,
    NodeRequest,
    NodeState,
    PoolComponent,
    RequestState,
)
from nodepool_tx.store import paths
from nodepool_tx.store.image_tree import Znode

NOW = 1_700_000_000.0


def node(node_id: str = "0000000001", state: str = "ready", **more: Any) -> Node:
    """A node of the static provider ``rack``, whose pool is online in :func:`farm`."""
    fields: dict[str, Any] = {
        "provider": "rack",
        "pool": "main",
        "type": ("small",),
        "hostname": "h1",
        "connection_port": 22,
        "slot": int(node_id[-1]) - 1,
        "launcher": "static driver",
        "state_time": NOW - 10,
        "mzxid": 7,
        **more,
    }
    return Node(id=node_id, state=NodeState(state), **fields)


def request(
    request_id: str = "200-0000000001", state: str = "requested", **more: Any
) -> NodeRequest:
    fields: dict[str, Any] = {"node_types": ("small",), "state_time": NOW - 10, "mzxid": 9, **more}
    return NodeRequest(id=request_id, state=RequestState(state), **fields)


def holder(path: str, session: int = 1, **more: Any) -> Holder:
    return Holder(path=path, session=session, **{"since": NOW - 10, **more})


def pool(provider: str = "rack", *labels: str) -> PoolComponent:
    return PoolComponent(
        id=f"id-{provider}",
        name="main",
        provider_name=provider,
        hostname="host",
        supported_labels=frozenset(labels or ("small",)),
    )


def znode(data: bytes = b"", *, session: int = 0, age: float = 10.0, version: int = 0) -> Znode:
    made = int((NOW - age) * 1000)
    stat = ZnodeStat(
        czxid=5,
        mzxid=6,
        ctime=made,
        mtime=made,
        version=version,
        cversion=0,
        aversion=0,
        ephemeralOwner=session,
        dataLength=len(data),
        numChildren=0,
        pzxid=6,
    )
    return Znode(data, stat)


def static(name: str = "rack", **hosts: int) -> StaticProvider:
    """A provider with so many slots on each host."""
    return StaticProvider(
        name=name,
        driver="static",
        pools=(
            StaticPool(
                name="main",
                provider_name=name,
                labels=frozenset({"small"}),
                nodes=tuple(
                    StaticNode(name=host, labels=("small",), max_parallel_jobs=slots)
                    for host, slots in (hosts or {"h1": 2}).items()
                ),
            ),
        ),
    )


def config(*providers: ProviderConfig) -> Config:
    return Config(
        labels=FrozenMapping({"small": Label("small")}),
        providers=FrozenMapping({each.name: each for each in providers or (static(),)}),
    )


def farm(*records: Node | NodeRequest, **more: Any) -> Farm:
    """These nodes and requests, with a launcher online that has ``rack``."""
    fields: dict[str, Any] = {
        "now": NOW,
        "pools": (pool(),),
        "nodes": {each.id: each for each in records if isinstance(each, Node)},
        "requests": {each.id: each for each in records if isinstance(each, NodeRequest)},
        **more,
    }
    return Farm(**fields)


def locked(*node_ids: str) -> dict[str, tuple[Holder, ...]]:
    """Locks of these nodes, each held by a live session."""
    return {each: (holder(f"{paths.node_lock(each)}/a__lock__0"),) for each in node_ids}


def codes(farm: Farm) -> list[str]:
    return sorted(finding.code for finding in find(farm))


def the(code: str, farm: Farm) -> Finding:
    """The only finding of this kind."""
    (found,) = (finding for finding in find(farm) if finding.code == code)
    return found
