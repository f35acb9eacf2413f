"""Why a request waits, in words for the person who made it.

A pure function of what everybody can see in ZooKeeper, so it works with any
launcher, Nodepool 11's included.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType

import attrs

from nodepool_tx.config.section import suggest
from nodepool_tx.model import Node, NodeRequest, NodeState, PoolComponent, RequestState
from nodepool_tx.pools.rules import Answer, PoolView, Wish, judge
from nodepool_tx.resources import exceeded
from nodepool_tx.store.usage import resources_of

__all__ = ["Scene", "explain", "pools_for"]

_COMING = (NodeState.INIT, NodeState.BUILDING, NodeState.TESTING)


@attrs.frozen
class Scene:
    """What there is to be seen.

    :ivar is_locked: tells of a node's id whether anybody holds its lock.
    :ivar limits: of the request's tenant, as far as they are known here.
    :ivar out_of_service: providers that are, and why in words.
    """

    nodes: Iterable[Node]
    is_locked: Callable[[str], bool]
    requests: Iterable[NodeRequest]
    pools: Sequence[PoolComponent]
    limits: Mapping[str, float] = attrs.field(factory=dict)
    out_of_service: Mapping[str, str] = attrs.field(factory=dict)


def pools_for(
    request: NodeRequest,
    pools: Sequence[PoolComponent],
    out_of_service: Mapping[str, str] = MappingProxyType({}),
) -> tuple[PoolComponent, ...]:
    """The pools that would serve the request now, by Nodepool's rules."""
    wish = Wish.of(request)
    wanted = frozenset(request.node_types)
    return tuple(
        pool
        for pool in pools
        if wanted <= pool.supported_labels
        and judge(wish, _view(pool, out_of_service), pools).answer is Answer.SERVE
    )


def _view(pool: PoolComponent, out_of_service: Mapping[str, str]) -> PoolView:
    return PoolView(
        id=pool.id,
        provider=pool.provider_name,
        name=pool.name,
        labels=pool.supported_labels,
        priority=pool.priority,
        launches=True,
        out_of_service=out_of_service,
    )


def explain(request: NodeRequest, scene: Scene) -> str:
    """Why the request has no nodes yet, such as "2 nodes have label debian, both in use"."""
    if request.state is RequestState.FULFILLED:
        return f"fulfilled with {', '.join(request.nodes)}"
    if request.state is RequestState.FAILED:
        return f"every pool online has declined it; {_fault(request, scene) or 'see their logs'}"
    fault = _fault(request, scene)
    if fault:
        return fault
    if request.state is RequestState.PENDING:
        return "a launcher is preparing the nodes"
    serving = pools_for(request, scene.pools, scene.out_of_service)
    if not serving:
        withdrawn = _withdrawn(request, scene)
        if withdrawn:
            return withdrawn
        return "the pools that offer it leave it to each other"
    over = _over_limit(request, scene)
    if over:
        return over
    parts = [_stock(request, scene, serving)]
    if all(pool.paused for pool in serving):
        parts.append(f"{_named(serving)} {'is' if len(serving) == 1 else 'are'} at quota")
    ahead = _ahead(request, scene.requests)
    if ahead:
        parts.append(f"{_count(ahead, 'request')} ahead")
    return "; ".join(parts)


def _fault(request: NodeRequest, scene: Scene) -> str:
    """Why it cannot be served at all as things are; "" if it can."""
    pools = scene.pools
    if not pools:
        return "no pool is online: is a launcher running on this ZooKeeper?"
    offered = frozenset().union(*(pool.supported_labels for pool in pools))
    unknown = [label for label in dict.fromkeys(request.node_types) if label not in offered]
    if unknown:
        return "; ".join(_unknown(label, offered) for label in unknown)
    wanted = frozenset(request.node_types)
    able = [pool for pool in pools if wanted <= pool.supported_labels]
    if not able:
        return (
            f"no single pool offers all of {', '.join(sorted(wanted))}, "
            "and the nodes of one request come from one pool"
        )
    if all(pool.id in request.declined_by for pool in able):
        return f"{_named(able)} declined it, and no other pool online offers it"
    return ""


def _withdrawn(request: NodeRequest, scene: Scene) -> str:
    """Why those that offer it are out of service; "" if none is."""
    wanted = frozenset(request.node_types)
    able = [pool.provider_name for pool in scene.pools if wanted <= pool.supported_labels]
    found = [scene.out_of_service[name] for name in able if name in scene.out_of_service]
    return "; ".join(dict.fromkeys(found))


def _unknown(label: str, offered: Iterable[str]) -> str:
    hint = suggest(label, sorted(offered))
    return f"no pool online offers the label {label!r}" + (f" ({hint})" if hint else "")


def _named(pools: Iterable[PoolComponent]) -> str:
    names = sorted({f"{pool.provider_name}/{pool.name}" for pool in pools})
    return ("pool " if len(names) == 1 else "pools ") + ", ".join(names)


def _over_limit(request: NodeRequest, scene: Scene) -> str:
    if not request.tenant_name or not scene.limits:
        return ""
    used: Counter[str] = Counter()
    for node in scene.nodes:
        if node.tenant_name == request.tenant_name:
            for resource, amount in resources_of(node).items():
                used[resource] += amount  # type: ignore[assignment]
    over = exceeded(scene.limits, used, Counter({"instances": len(request.node_types)}))
    return "; ".join(
        f"tenant {request.tenant_name} uses {used[resource]:g} of its "
        f"{scene.limits[resource]:g} {resource}"
        for resource in over
    )


def _stock(request: NodeRequest, scene: Scene, pools: Iterable[PoolComponent]) -> str:
    """What becomes of the nodes that could serve it, for each label that is short."""
    places = {(pool.provider_name, pool.name) for pool in pools}
    stock = [node for node in scene.nodes if (node.provider, node.pool) in places]
    short: list[str] = []
    enough: list[str] = []
    for label, count in Counter(request.node_types).items():
        uses = Counter(_use(node, scene.is_locked) for node in stock if label in node.type)
        text = _label_stock(label, count, uses)
        (enough if uses["free"] >= count else short).append(text)
    return "; ".join(short or enough)


def _use(node: Node, is_locked: Callable[[str], bool]) -> str:
    if node.state is NodeState.HOLD:
        return "held"
    if node.state is NodeState.READY:
        return "promised to others" if node.allocated_to or is_locked(node.id) else "free"
    if node.state in _COMING:
        return "being prepared"
    return "in use" if is_locked(node.id) else "on the way back"


def _label_stock(label: str, count: int, uses: Counter[str]) -> str:
    total = uses.total()
    if not total:
        return f"no node has label {label} at the moment"
    verb = "has" if total == 1 else "have"
    text = f"{_count(total, 'node')} {verb} label {label}"
    if len(uses) == 1:
        every = {1: "", 2: "both ", 3: "all three "}.get(total, "all ")
        text += f", {every}{next(iter(uses))}"
    else:
        text += ": " + ", ".join(f"{number} {use}" for use, number in uses.most_common())
    if total < count:
        text += f", and {count} are asked for"
    return text


def _ahead(request: NodeRequest, requests: Iterable[NodeRequest]) -> int:
    """Waiting requests that come first and want some of the same."""
    wanted = set(request.node_types)
    return sum(
        other.id != request.id
        and other.state in (RequestState.REQUESTED, RequestState.PENDING)
        and other.sort_key < request.sort_key
        and not wanted.isdisjoint(other.node_types)
        for other in requests
    )


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
