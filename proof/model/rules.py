"""What must hold of nodes and requests in every state, and of every step."""

from __future__ import annotations

from functools import lru_cache

from nodepool_tx.model import NODE_TRANSITIONS, NodeState, RequestState
from nodepool_tx.store import paths
from proof.model.seen import node_in, nodes_in, request_in
from proof.model.zookeeper import Tree

__all__ = ["wrong_records", "wrong_write"]


@lru_cache(maxsize=500_000)
def wrong_records(tree: Tree) -> str:
    """What is wrong with the nodes and requests that there are; "" if nothing is.

    - A fulfilled request names as many different nodes as it wants, which
      exist, are ready or being taken over, and are promised to it.
    - So no node is named by two of them.
    - No slot of a machine has two nodes.
    """
    given: dict[str, str] = {}
    for request_id in tree.below(paths.REQUESTS):
        request = request_in(tree, request_id)
        if request is None or request.state is not RequestState.FULFILLED:
            continue
        if len(set(request.nodes)) != len(request.node_types):
            return f"request {request_id} wants {len(request.node_types)} and got {request.nodes}"
        for node_id, label in zip(request.nodes, request.node_types, strict=True):
            node = node_in(tree, node_id)
            if node is None:
                return f"request {request_id} is fulfilled with node {node_id}, which is gone"
            if node_id in given:
                return f"node {node_id} is promised to {given[node_id]} and to {request_id}"
            if node.allocated_to != request_id:
                return f"node {node_id} of request {request_id} is promised to {node.allocated_to}"
            if node.state is not NodeState.READY or label not in node.type:
                return f"node {node_id} of request {request_id} is {node.state.value}"
            given[node_id] = request_id
    slots: dict[tuple[object, ...], str] = {}
    for node in nodes_in(tree):
        if node.slot is None:
            continue
        key = (*node.identity, node.slot)
        if key in slots:
            return f"nodes {slots[key]} and {node.id} are in the same slot"
        slots[key] = node.id
    return ""


@lru_cache(maxsize=500_000)
def wrong_write(before: Tree, after: Tree, session: int, mine: str = "") -> str:
    """What is wrong with what a session wrote; "" if nothing is.

    - Nothing is written whose lock another session holds.
    - States go only where the table of the model lets them.

    :param mine: a request that the session may delete whoever works on it, as it
        is its own.
    """
    if before is after:
        return ""
    for path in before.znodes.keys() | after.znodes.keys():
        old, new = before.znodes.get(path), after.znodes.get(path)
        if old == new:
            continue
        parts = path.split("/")
        if len(parts) != 4 or parts[2] not in ("nodes", "requests"):
            continue
        record_id = parts[3]
        is_node = parts[2] == "nodes"
        lock = paths.node_lock(record_id) if is_node else paths.request_lock(record_id)
        holder = before.holder(lock)
        if old is not None and holder not in (0, session) and record_id != mine:
            return f"session {session} writes {path}, whose lock session {holder} holds"
        if is_node and old is not None and new is not None:
            was, now = node_in(before, record_id), node_in(after, record_id)
            assert was is not None
            assert now is not None
            if was.state is not now.state and now.state not in NODE_TRANSITIONS[was.state]:
                return f"node {record_id} goes from {was.state.value} to {now.state.value}"
    return ""
