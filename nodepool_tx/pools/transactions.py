"""What pools write: the answers to a request, and its taking, each one transaction.

All of these raise :class:`~nodepool_tx.store.change.Conflict` when somebody
else was faster, and :class:`~nodepool_tx.store.change.Uncertain` when the
connection broke, so that it happened or it did not.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from nodepool_tx.model import Node, NodeRequest, NodeState, RequestState
from nodepool_tx.pools.interface import NodeMaker
from nodepool_tx.pools.planning import Plan, held_lock
from nodepool_tx.pools.reservations import Reservation, Reservations
from nodepool_tx.pools.rules import all_declined
from nodepool_tx.store.change import Change
from nodepool_tx.store.store import Store
from nodepool_tx.txzookeeper.lock import Lock

__all__ = ["decline", "finish", "fulfil", "give_back", "in_stock", "replace", "take"]

#: States of nodes that will be, or are, of use to somebody.
_USEFUL = frozenset({NodeState.INIT, NodeState.BUILDING, NodeState.TESTING, NodeState.READY})


def in_stock(node: Node) -> Node:
    """The node when it is promised to nobody any more."""
    return node.changed(allocated_to=None, tenant_name=None, requestor=None)


def _promised(node: Node, request: NodeRequest) -> Node:
    return node.changed(
        allocated_to=request.id,
        tenant_name=request.tenant_name,
        requestor=request.requestor,
    )


async def fulfil(
    store: Store,
    reservations: Reservations,
    reservation: Reservation,
    request: NodeRequest,
    nodes: Sequence[Node],
) -> bool:
    """Promise ready nodes to the request and tell it so.

    False if the request, or a node, is no longer what it was when they were
    chosen for each other.
    """
    latest = store.requests.get(request.id)
    current = _as_they_are(store, request, nodes)
    if latest is None or current is None or not _still_wanted(request, latest):
        return False
    change = store.change()
    for node in current:
        change.update_node(node, _promised(node, latest))
    ids = tuple(node.id for node in nodes)
    now = store.clock.seconds()
    change.update_request(latest, latest.in_state(RequestState.FULFILLED, now, nodes=ids))
    await reservations.commit(change, reservation, latest.tenant_name)
    return True


async def take(
    store: Store,
    reservations: Reservations,
    reservation: Reservation,
    maker: NodeMaker,
    pool: str,
    request: NodeRequest,
    plan: Plan,
    lock: Lock,
) -> tuple[str, ...] | None:
    """Make the request ours, with what is there and records of what is to be made.

    Returns the ids of its nodes in the order of its labels; None if something
    is no longer what it was when this was decided.
    """
    latest = store.requests.get(request.id)
    if latest is None or not _still_wanted(request, latest):
        return None
    change = store.change()
    if not _assign(change, store, maker, pool, latest, plan):
        return None
    change.update_request(
        latest, latest.in_state(RequestState.PENDING, store.clock.seconds()), lock
    )
    created = await reservations.commit(change, reservation, latest.tenant_name)
    return _in_order(plan, created)


async def replace(
    store: Store,
    reservations: Reservations,
    reservation: Reservation,
    maker: NodeMaker,
    pool: str,
    request: NodeRequest,
    plan: Plan,
    lock: Lock,
) -> tuple[str, ...] | None:
    """Give a request that is ours other nodes for those it has lost; as :func:`take`."""
    change = store.change()
    if not _assign(change, store, maker, pool, request, plan):
        return None
    change.update_request(request, request, lock)
    created = await reservations.commit(change, reservation, request.tenant_name)
    return _in_order(plan, created)


async def finish(store: Store, request: NodeRequest, nodes: Sequence[Node], lock: Lock) -> None:
    """Tell a request that is ours of its nodes, which are ready, and let it go.

    Nodes for the stock are promised to nobody any more.
    """
    change = store.change()
    for node in nodes:
        if request.is_min_ready:
            change.update_node(node, in_stock(node))
        else:
            change.require_node(node)
    ids = tuple(node.id for node in nodes)
    done = request.in_state(RequestState.FULFILLED, store.clock.seconds(), nodes=ids)
    change.update_request(request, done, lock, release=True)
    await change.commit()


async def give_back(
    store: Store,
    maker: NodeMaker,
    request: NodeRequest,
    nodes: Iterable[Node],
    lock: Lock,
    declined_by: str | None = None,
) -> bool:
    """Let go of a request that is ours, and of its nodes, which others may have.

    :param declined_by: our pool, if it says no; else the request is open again.
    :returns: whether everyone online has said no, so that the request has failed.
    """
    change = store.change()
    release_nodes(change, store, maker, request.id, nodes)
    declined = (*request.declined_by, declined_by) if declined_by else request.declined_by
    failed = bool(declined_by) and all_declined(declined, store.components.pools())
    state = RequestState.FAILED if failed else RequestState.REQUESTED
    after = request.in_state(state, store.clock.seconds(), declined_by=declined, nodes=())
    change.update_request(request, after, lock, release=True)
    await change.commit()
    return failed


def release_nodes(
    change: Change, store: Store, maker: NodeMaker, request_id: str, nodes: Iterable[Node]
) -> None:
    """Promise nodes to nobody any more, but for those that others hold.

    What others hold they hold for as long as they work on it; the janitor has
    it when the request is gone.
    """
    for node in nodes:
        if node.allocated_to != request_id or node.state not in _USEFUL:
            continue
        lock = held_lock(maker, node.id)
        if lock is not None or not store.nodes.is_locked(node.id):
            change.update_node(node, in_stock(node), lock)


async def decline(store: Store, request: NodeRequest, pool_id: str) -> bool:
    """Say no; True if everyone online has now, so that the request has failed."""
    declined_by = (*request.declined_by, pool_id)
    failed = all_declined(declined_by, store.components.pools())
    state = RequestState.FAILED if failed else RequestState.REQUESTED
    change = store.change()
    change.update_request(
        request, request.in_state(state, store.clock.seconds(), declined_by=declined_by)
    )
    await change.commit()
    return failed


def _still_wanted(decided: NodeRequest, latest: NodeRequest) -> bool:
    return (
        latest.state is RequestState.REQUESTED
        and latest.node_types == decided.node_types
        and latest.tenant_name == decided.tenant_name
    )


def _as_they_are(store: Store, request: NodeRequest, nodes: Iterable[Node]) -> list[Node] | None:
    """The nodes now; None if something has become of one since it was chosen."""
    found: list[Node] = []
    for chosen in nodes:
        current = store.nodes.get(chosen.id)
        if (
            current is None
            or current.allocated_to not in (None, "", request.id)
            or current.state not in (chosen.state, NodeState.READY)
            or (current.provider, current.pool, current.type)
            != (chosen.provider, chosen.pool, chosen.type)
        ):
            return None
        found.append(current)
    return found


def _assign(
    change: Change, store: Store, maker: NodeMaker, pool: str, request: NodeRequest, plan: Plan
) -> bool:
    """Promise what is there to the request, and create what is not."""
    present = _as_they_are(store, request, plan.present)
    if present is None:
        return False
    for node in present:
        change.update_node(node, _promised(node, request), held_lock(maker, node.id))
    for label, chosen, charge in zip(plan.labels, plan.nodes, plan.charges, strict=True):
        if chosen is None:
            draft = maker.draft(pool, label, request, plan.zone)
            # What was judged is what is counted from now on.
            change.create_node(draft.changed(resources=dict(charge.amounts)))
    return True


def _in_order(plan: Plan, created: Sequence[str]) -> tuple[str, ...]:
    new = iter(created)
    return tuple(next(new) if node is None else node.id for node in plan.nodes)
