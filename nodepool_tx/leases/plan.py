"""What is to be done about a lease, from what everybody can see.

Design note: no one owns a lease
--------------------------------
Every launcher follows all leases and may take any step of any.  A step is one
transaction that holds for the very version of the lease it was planned for, so
of several launchers one takes it and the others see it taken; and whenever a
launcher is killed, what it leaves is a lease from which any other can go on.

The nodes of a lease are in the state ``hold`` without a lock, which is what
Nodepool calls a node that people keep: it survives every launcher, shows in
``nodepool list`` with a comment, and if no launcher of ours is left to end the
lease, its hold expires a little later.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import attrs

from nodepool_tx.model import Node, NodeRequest, NodeState, RequestState
from nodepool_tx.store.leases import Lease, LeaseState

__all__ = [
    "GRACE",
    "KEPT",
    "LONGEST_TTL",
    "NOT_RENEWED",
    "End",
    "Forget",
    "Grant",
    "Step",
    "Tidy",
    "due",
    "granted_ttl",
    "hold_seconds",
    "lost_nodes",
    "own_nodes",
    "plan",
]

#: Seconds for which a lease that is over can still be read.
KEPT = 600.0

#: Seconds by which nodes are held longer than the lease lasts, so that it is the
#: lease that ends, and whoever looks after nodes only if nobody ends it.
GRACE = 60.0

#: Seconds; whatever is configured, nobody lives to see the end of a longer one.
LONGEST_TTL = 1e9

NOT_RENEWED = "nobody renewed it in time"


@attrs.frozen
class Grant:
    """Hold the nodes of a fulfilled request for the lease, and remove the request."""

    request: NodeRequest
    nodes: tuple[Node, ...]


@attrs.frozen
class End:
    """Nothing comes of it any more: give back what it has.

    :ivar lost: what it was to have, and somebody else has.  A lease may be seen
        before its nodes are, so they must still be that when it is ended.
    """

    state: LeaseState
    reason: str
    nodes: tuple[Node, ...] = ()
    request: NodeRequest | None = None
    lost: tuple[Node, ...] = ()


@attrs.frozen
class Tidy:
    """Remove requests that nobody waits for."""

    requests: tuple[str, ...]


@attrs.frozen
class Forget:
    """It was over for long enough."""


Step = Grant | End | Tidy | Forget


def due(lease: Lease) -> float:
    """When time alone changes something about it."""
    return lease.since + KEPT if lease.over else lease.expires


def own_nodes(lease: Lease, node: Callable[[str], Node | None]) -> tuple[Node, ...]:
    """Those of its nodes that are still held for it."""
    found = (node(node_id) for node_id in lease.nodes)
    return tuple(each for each in found if each is not None and _is_held(each, lease))


def lost_nodes(lease: Lease, node: Callable[[str], Node | None]) -> tuple[Node, ...]:
    """Those of its nodes that are there, and not held for it."""
    found = (node(node_id) for node_id in lease.nodes)
    return tuple(each for each in found if each is not None and not _is_held(each, lease))


def plan(
    lease: Lease,
    requests: Sequence[NodeRequest],
    node: Callable[[str], Node | None],
    now: float,
) -> Step | None:
    """The next step of a lease; None while there is nothing to do.

    :param requests: those that say they were made for it.
    :param node: the node of an id.
    """
    if lease.over:
        if requests:
            return Tidy(tuple(request.id for request in requests))
        return Forget() if now >= due(lease) else None
    if lease.state is LeaseState.READY:
        return _of_ready(lease, node, now)
    request = min(requests, key=lambda each: each.id, default=None)
    if now >= lease.expires:
        return End(LeaseState.ENDED, NOT_RENEWED, request=request)
    if request is None:
        return End(LeaseState.FAILED, "its request was removed by somebody else")
    if request.state is RequestState.FAILED:
        return End(LeaseState.FAILED, _why_failed(request), request=request)
    if request.state is RequestState.FULFILLED:
        return _of_fulfilled(lease, request, node)
    return None


def _of_ready(lease: Lease, node: Callable[[str], Node | None], now: float) -> Step | None:
    held, others = own_nodes(lease, node), lost_nodes(lease, node)
    if now >= lease.expires:
        return End(LeaseState.ENDED, NOT_RENEWED, held, lost=others)
    if len(held) == len(lease.nodes):
        return None
    kept = {each.id for each in held}
    lost = [_lost(node_id, node(node_id), lease) for node_id in lease.nodes if node_id not in kept]
    reason = f"somebody else took its nodes away: {', '.join(lost)}"
    return End(LeaseState.FAILED, reason, held, lost=others)


def _of_fulfilled(
    lease: Lease, request: NodeRequest, node: Callable[[str], Node | None]
) -> Step | None:
    nodes = [node(node_id) for node_id in request.nodes]
    promised = tuple(
        each
        for each in nodes
        if each is not None and each.state is NodeState.READY and each.allocated_to == request.id
    )
    if len(promised) == len(lease.labels) == len(request.nodes):
        return Grant(request, promised)
    reason = "a node that it was promised was taken away before it was handed over"
    others = tuple(each for each in nodes if each is not None and each not in promised)
    return End(LeaseState.FAILED, reason, request=request, lost=others)


def _is_held(node: Node, lease: Lease) -> bool:
    return node.state is NodeState.HOLD and node.allocated_to == lease.request


def _lost(node_id: str, node: Node | None, lease: Lease) -> str:
    if node is None or node.allocated_to != lease.request:
        return f"node {node_id} is gone"
    return f"node {node_id} is {node.state.value}"


def _why_failed(request: NodeRequest) -> str:
    if not request.declined_by:
        return "its request failed"
    declined = ", ".join(request.declined_by)
    return f"its request failed, declined by {declined}"


def granted_ttl(asked: float, longest: float, longest_hold: float) -> float:
    """For how long a lease is granted, seconds; never less than one."""
    return max(1.0, min(asked, longest, longest_hold, LONGEST_TTL))


def hold_seconds(ttl: float) -> int:
    """What ``hold_expiration`` is to be, whole seconds."""
    return math.ceil(ttl + GRACE)
