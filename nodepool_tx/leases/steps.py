"""The steps of a lease as changes of ZooKeeper: each one transaction, each guarded.

A change fails as a whole (see :mod:`nodepool_tx.store.change`) when anything
that it is about is not what it was any more, or somebody holds the lock of a
node or request in it.
"""

from __future__ import annotations

from typing import Any

import attrs

from nodepool_tx.leases.plan import End, Grant, hold_seconds
from nodepool_tx.model import Node, NodeState
from nodepool_tx.store.change import Change
from nodepool_tx.store.leases import Lease, LeaseState
from nodepool_tx.store.store import Store

__all__ = ["ending", "forgetting", "granting", "renewing"]


def granting(store: Store, lease: Lease, step: Grant, now: float) -> tuple[Change, Lease]:
    """Hold the nodes for the lease; its time begins anew."""
    ready = attrs.evolve(
        lease,
        state=LeaseState.READY,
        since=now,
        expires=now + lease.ttl,
        reason="",
        request=step.request.id,
        nodes=tuple(node.id for node in step.nodes),
    )
    change = store.change()
    held = {
        "hold_expiration": hold_seconds(lease.ttl),
        "comment": f"lease {lease.id} of {lease.user}",
        "hold_job": f"lease {lease.id}",
    }
    for node in _each_once(step.nodes):
        change.update_node(node, node.in_state(NodeState.HOLD, now, **held))
    change.remove_request(step.request)
    store.leases.update_in(change, lease, ready)
    return change, ready


def renewing(
    store: Store, lease: Lease, nodes: tuple[Node, ...], ttl: float, now: float
) -> tuple[Change, Lease]:
    """Begin the time of a lease, and of the hold of its nodes, anew."""
    renewed = attrs.evolve(lease, expires=now + ttl, ttl=ttl)
    change = store.change()
    for node in _each_once(nodes):
        changes: dict[str, Any] = {"hold_expiration": hold_seconds(ttl)}
        change.update_node(node, node.in_state(NodeState.HOLD, now, **changes))
    store.leases.update_in(change, lease, renewed)
    return change, renewed


def ending(store: Store, lease: Lease, step: End, now: float) -> tuple[Change, Lease]:
    """Give back what the lease has.

    A request that a launcher has in hand right now, and holds the lock of, is
    left for later: a lease that is over loses its requests (see
    :class:`nodepool_tx.leases.plan.Tidy`).
    """
    over = attrs.evolve(
        lease,
        state=step.state,
        since=now,
        expires=now,
        reason=step.reason,
        request=lease.request or (step.request.id if step.request is not None else None),
    )
    change = store.change()
    for node in _each_once(step.nodes):
        free = {"hold_expiration": None, "comment": None, "hold_job": None}
        change.update_node(node, node.in_state(NodeState.USED, now, **free))
    for node in _each_once(step.lost):
        change.require_node(node)
    if step.request is not None and not store.requests.is_locked(step.request.id):
        change.remove_request(step.request)
    store.leases.update_in(change, lease, over)
    return change, over


def forgetting(store: Store, lease: Lease) -> Change:
    """Remove what is left of it."""
    change = store.change()
    store.leases.remove_in(change, lease)
    return change


def _each_once(nodes: tuple[Node, ...]) -> tuple[Node, ...]:
    return tuple({node.id: node for node in nodes}.values())
