"""The two answers to a request, each one transaction."""

from __future__ import annotations

from collections.abc import Sequence

import attrs

from nodepool_tx.model import Node, NodeRequest, NodeState, RequestState
from nodepool_tx.pools.rules import all_declined
from nodepool_tx.store.store import Store

__all__ = ["decline", "fulfil"]


async def fulfil(store: Store, request: NodeRequest, nodes: Sequence[Node]) -> bool:
    """Promise the nodes to the request and tell it so.

    False if the request, or a node, is no longer what it was when they were
    chosen for each other.

    :raises Conflict: somebody else was faster.
    :raises Uncertain: the connection broke; it happened or it did not.
    """
    latest = store.requests.get(request.id)
    if (
        latest is None
        or latest.state is not RequestState.REQUESTED
        or latest.node_types != request.node_types
    ):
        return False
    change = store.change()
    for node in nodes:
        current = store.nodes.get(node.id)
        if current is None or not _still_fits(node, current):
            return False
        promised = attrs.evolve(
            current,
            allocated_to=latest.id,
            tenant_name=latest.tenant_name,
            requestor=latest.requestor,
        )
        change.update_node(current, promised)
    ids = tuple(node.id for node in nodes)
    now = store.clock.seconds()
    change.update_request(latest, latest.in_state(RequestState.FULFILLED, now, nodes=ids))
    await change.commit()
    return True


def _still_fits(chosen: Node, current: Node) -> bool:
    """Nothing has become of a node while it was checked; its labels are the same."""
    return (
        current.state is NodeState.READY
        and not current.allocated_to
        and (current.provider, current.pool, current.type)
        == (chosen.provider, chosen.pool, chosen.type)
    )


async def decline(store: Store, request: NodeRequest, pool_id: str) -> bool:
    """Say no; True if everyone online has now, so that the request has failed.

    :raises Conflict: somebody else was faster.
    :raises Uncertain: the connection broke; it happened or it did not.
    """
    declined_by = (*request.declined_by, pool_id)
    failed = all_declined(declined_by, store.components.pools())
    state = RequestState.FAILED if failed else RequestState.REQUESTED
    change = store.change()
    change.update_request(
        request, request.in_state(state, store.clock.seconds(), declined_by=declined_by)
    )
    await change.commit()
    return failed
