"""Requests and the nodes that are promised to them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from nodepool_tx.check.farm import Farm
from nodepool_tx.check.findings import Finding
from nodepool_tx.check.repairs import EndRequest, ForgetDecliners, Free, Repair, ResetRequest
from nodepool_tx.model import Node, NodeRequest, NodeState, RequestState
from nodepool_tx.store import paths

__all__ = ["nodes_promised", "requests_stuck", "requests_without_nodes"]


def _is_waiting(node: Node, farm: Farm) -> bool:
    """It is promised, and nobody has taken it."""
    return bool(node.state is NodeState.READY and node.allocated_to and not farm.is_locked(node.id))


def nodes_promised(farm: Farm) -> Iterator[Finding]:
    """Nodes that wait for a request which will not take them."""
    for node in farm.nodes.values():
        if not _is_waiting(node, farm):
            continue
        assert node.allocated_to is not None
        request = farm.requests.get(node.allocated_to)
        if request is None:
            if not farm.is_request(node.allocated_to):
                yield _promised(
                    "node-promised-to-nobody",
                    node,
                    f"it is promised to request {node.allocated_to}, which is gone",
                    None,
                )
            continue
        why = _why_in_vain(node, request, farm)
        if why:
            yield _promised("node-promised-in-vain", node, why, request)


def _why_in_vain(node: Node, request: NodeRequest, farm: Farm) -> str:
    if request.state is RequestState.FULFILLED and node.id not in request.nodes:
        # Those for the stock may be there without being listed.
        return (
            ""
            if request.is_min_ready
            else f"it is promised to request {request.id}, which was given others"
        )
    if request.state is RequestState.FAILED:
        return f"it is promised to request {request.id}, which failed"
    if request.state is RequestState.REQUESTED and not farm.request_locks.get(request.id):
        age = farm.age(max(node.state_time, request.state_time))
        if age > farm.ages.swept:
            return f"it is kept for request {request.id}, which is open again for {age:.0f} s"
    return ""


def _promised(code: str, node: Node, words: str, request: NodeRequest | None) -> Finding:
    return Finding(
        code=code,
        what=f"node {node.id}",
        path=paths.node(node.id),
        words=words,
        provider=node.provider,
        repair=Free(node, request),
        evidence=(node.mzxid, request.mzxid if request is not None else 0),
    )


# -- what was given --------------------------------------------------------------


def requests_without_nodes(farm: Farm) -> Iterator[Finding]:
    """Fulfilled requests with nodes that are not theirs."""
    fulfilled = [
        request
        for request in farm.requests.values()
        if request.state is RequestState.FULFILLED and not request.is_min_ready
    ]
    given: dict[str, list[str]] = {}
    for request in fulfilled:
        for node_id in dict.fromkeys(request.nodes):
            given.setdefault(node_id, []).append(request.id)
    waiting = _waiting(farm)
    for request in fulfilled:
        found = _without_nodes(request, given, waiting, farm)
        if found is not None:
            yield found


def _waiting(farm: Farm) -> Mapping[str, list[Node]]:
    """Nodes that were promised and not taken, by request."""
    waiting: dict[str, list[Node]] = {}
    for node in farm.nodes.values():
        if _is_waiting(node, farm) and node.allocated_to:
            waiting.setdefault(node.allocated_to, []).append(node)
    return waiting


def _without_nodes(
    request: NodeRequest,
    given: Mapping[str, list[str]],
    waiting: Mapping[str, list[Node]],
    farm: Farm,
) -> Finding | None:
    why, twice, taken = [], False, False
    for node_id in request.nodes:
        node = farm.nodes.get(node_id)
        taken |= farm.is_locked(node_id) and node is not None and node.allocated_to == request.id
        if node_id in farm.unreadable_nodes:
            continue
        if node is None:
            why.append(f"node {node_id} does not exist")
        elif node.allocated_to != request.id:
            others = [other for other in given[node_id] if other != request.id]
            twice |= bool(others)
            to = f"promised to {node.allocated_to}" if node.allocated_to else "promised to nobody"
            also = f" and given to {', '.join(others)}" if others else ""
            why.append(f"node {node_id} is {to}{also}")
    if not why:
        return None
    repair: Repair | None = EndRequest(request, tuple(waiting.get(request.id, ())))
    left = ""
    if taken:
        repair, left = None, "its requestor is just taking the others"
    elif farm.request_locks.get(request.id):
        repair, left = None, "somebody holds its lock"
    return Finding(
        code="node-given-twice" if twice else "request-without-nodes",
        what=f"request {request.id}",
        path=paths.request(request.id),
        words=f"it is fulfilled, but {'; '.join(why)}",
        repair=repair,
        left=left,
        evidence=(request.mzxid, tuple(why)),
    )


# -- what waits for somebody -----------------------------------------------------


def requests_stuck(farm: Farm) -> Iterator[Finding]:
    """Requests that nobody works on, takes or owns."""
    online = {pool.id for pool in farm.pools}
    for request in farm.requests.values():
        if farm.request_locks.get(request.id):
            continue
        found = _stuck(request, farm, online)
        if found is not None:
            code, words, repair, left = found
            yield Finding(
                code=code,
                what=f"request {request.id}",
                path=paths.request(request.id),
                words=words,
                repair=repair,
                left=left,
                evidence=request.mzxid,
            )


def _stuck(
    request: NodeRequest, farm: Farm, online: set[str]
) -> tuple[str, str, Repair | None, str] | None:
    age, state = farm.age(request.state_time), request.state
    if state is RequestState.PENDING:
        return (
            "request-abandoned",
            "it is pending, and nobody holds its lock",
            _resetting(request, farm),
            "",
        )
    if state in (RequestState.FULFILLED, RequestState.FAILED) and request.id in farm.persistent:
        if age <= farm.ages.swept:
            return None
        return (
            "request-ownerless",
            f"it was made for the stock, is {state.value} for {age:.0f} s, and no session owns it",
            EndRequest(request, _for(request, farm), remove=True),
            "",
        )
    if state is RequestState.FULFILLED and age > farm.ages.overdue and not request.is_min_ready:
        if any(farm.is_locked(node_id) for node_id in request.nodes):
            return None
        who = request.requestor or "its requestor"
        return (
            "request-not-accepted",
            f"it is fulfilled for {age:.0f} s, and nobody has taken its nodes",
            None,
            f"only {who} knows whether it still wants them",
        )
    if state is RequestState.REQUESTED and age > farm.ages.swept:
        return _declined(request, farm, online)
    return None


def _declined(
    request: NodeRequest, farm: Farm, online: set[str]
) -> tuple[str, str, Repair | None, str] | None:
    labels = set(request.node_types)
    if not request.declined_by or online & set(request.declined_by):
        return None
    if any(labels <= pool.supported_labels for pool in farm.pools):
        return None
    return (
        "request-declined-by-gone",
        f"all {len(request.declined_by)} pools that declined it are gone, and nobody else could "
        "serve it",
        ForgetDecliners(request),
        "",
    )


def _for(request: NodeRequest, farm: Farm) -> tuple[Node, ...]:
    return tuple(
        node
        for node in farm.nodes.values()
        if node.allocated_to == request.id and _is_waiting(node, farm)
    )


def _resetting(request: NodeRequest, farm: Farm) -> ResetRequest:
    doomed = tuple(
        node
        for node in farm.nodes.values()
        if node.allocated_to == request.id
        and node.state in (NodeState.INIT, NodeState.BUILDING)
        and not farm.is_locked(node.id)
    )
    return ResetRequest(request, _for(request, farm), doomed)
