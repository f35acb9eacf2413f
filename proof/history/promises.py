"""Rules of promises: a node is one request's, and stays it for as long as that needs it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from nodepool_tx.model import MIN_READY_REQUESTOR
from proof.history.acts import Act, Touched
from proof.history.cast import Role
from proof.history.rules import Violation

__all__ = ["FulfilledRule", "PromiseRule"]


class FulfilledRule:
    """What a launcher says a request is fulfilled with is there, and is what was asked for."""

    name = "fulfilled"

    def see(self, act: Act) -> Iterator[Violation]:
        if act.author.role not in (Role.LAUNCHER, Role.NODEPOOL_11):
            return
        for request in act.requests:
            if request.is_.get("state") != "fulfilled" or request.was.get("state") == "fulfilled":
                continue
            for words, node_id in self._faults(act, request):
                told = f"{act.author.name} fulfilled request {request.id} {words}"
                where = (request.path, act.layout.node(node_id)) if node_id else (request.path,)
                yield Violation(self.name, act.entry.zxid, told, where)

    def _faults(self, act: Act, request: Touched) -> Iterator[tuple[str, str]]:
        labels, ids = _texts(request.is_, "node_types"), _texts(request.is_, "nodes")
        if len(labels) != len(ids):
            yield f"for {len(labels)} nodes with {len(ids)}", ""
            return
        if len(set(ids)) != len(ids):
            yield f"with one node twice: {', '.join(ids)}", ""
        for_stock = _is_min_ready(request.is_)
        pools: set[tuple[Any, Any]] = set()
        for label, node_id in zip(labels, ids, strict=True):
            node = act.node(node_id)
            if node is None:
                yield f"with node {node_id}, which is not there", node_id
                continue
            pools.add((node.get("provider"), node.get("pool")))
            if node.get("state") != "ready":
                yield f"with node {node_id}, which is {node.get('state')}", node_id
            if label not in _texts(node, "type"):
                yield f"with node {node_id} for {label}, which is {node.get('type')}", node_id
            promised = node.get("allocated_to")
            if promised != request.id and not (for_stock and not promised):
                yield f"with node {node_id}, which is promised to {promised}", node_id
        if len(pools) > 1:
            yield f"from several pools: {sorted(map(str, pools))}", ids[0]


class PromiseRule:
    """No node is promised twice, and no promise is broken while its request lives.

    A request that is fulfilled has its nodes until it is gone, or they are not ready any more:
    its client did something with them.  One that is pending has those that were promised to it
    in the step that took it, or in one that wrote it since: they are its holder's to give up.
    Requests for the stock have theirs only until they are fulfilled.
    """

    name = "promise"

    def __init__(self) -> None:
        #: Node -> fulfilled requests that list it.
        self._listed: dict[str, dict[str, None]] = {}
        #: Pending request -> nodes that were promised to it while its launcher wrote it.
        self._bound: dict[str, set[str]] = {}

    def see(self, act: Act) -> Iterator[Violation]:
        found = self._judge(act) if act.author.role is not Role.CHAOS else ()
        for request in act.requests:
            self._note_listed(request)
        for words, where in found:
            yield Violation(self.name, act.entry.zxid, f"{act.author.name} {words}", where)
        yield from self._twice(act)
        self._note_bound(act)

    # -- what is remembered ----------------------------------------------

    def _note_listed(self, request: Touched) -> None:
        before, after = _listing(request.was), _listing(request.is_)
        if before == after:
            return
        for node_id in before:
            listing = self._listed.get(node_id)
            if listing is not None:
                listing.pop(request.id, None)
                if not listing:
                    del self._listed[node_id]
        for node_id in after:
            self._listed.setdefault(node_id, {})[request.id] = None

    def _note_bound(self, act: Act) -> None:
        for request in act.requests:
            if request.is_.get("state") != "pending":
                self._bound.pop(request.id, None)
                continue
            if request.was.get("state") != "pending":
                self._bound[request.id] = set()
            bound = self._bound.setdefault(request.id, set())
            for node in act.nodes:
                if node.is_.get("allocated_to") == request.id:
                    bound.add(node.id)

    # -- what is judged --------------------------------------------------

    def _judge(self, act: Act) -> list[tuple[str, tuple[str, ...]]]:
        found: list[tuple[str, tuple[str, ...]]] = []
        for node in act.nodes:
            if not node.was or (node.after is not None and not node.is_):
                continue
            had, has = node.was.get("allocated_to"), node.is_.get("allocated_to")
            if not isinstance(had, str) or not had:
                continue
            request = act.request(had)
            if not request:
                continue
            broken = self._broken(act, node, had, has, request)
            if broken is not None:
                found.append((broken, (node.path, act.layout.request(had))))
        return found

    def _broken(
        self, act: Act, node: Touched, had: str, has: Any, request: Mapping[str, Any]
    ) -> str | None:
        ours = act.author.role is Role.LAUNCHER
        state = request.get("state")
        if has and has != had:
            if state != "failed" and act.author.role is not Role.NODEPOOL_11:
                return f"promised node {node.id} to {has}, which was promised to {had}"
            return None
        if state == "fulfilled" and node.id in _listing(request):
            if node.was.get("state") != "ready":
                return None
            if not has and (ours or not act.holds(node.lock)):
                return f"took node {node.id} from request {had}, which is fulfilled with it"
            if ours and node.is_.get("state") != "ready":
                became = node.is_.get("state", "gone")
                return f"made node {node.id} {became}, which request {had} is fulfilled with"
        elif state == "pending" and not has and ours and node.was.get("state") == "ready":
            bound = node.id in self._bound.get(had, ())
            if bound and not act.holds(act.layout.request_lock(had)):
                return f"took node {node.id} from request {had}, which is pending in other hands"
        return None

    def _twice(self, act: Act) -> Iterator[Violation]:
        """Nodes that have become two requests' at once."""
        if act.author.role is Role.CHAOS:
            return
        looked_at: set[str] = set()
        for request in act.requests:
            before = _listing(request.was)
            looked_at.update(each for each in _listing(request.is_) if each not in before)
        for node in act.nodes:
            if node.is_.get("allocated_to") not in (None, "", node.was.get("allocated_to")):
                looked_at.add(node.id)
        for node_id in sorted(looked_at):
            owners = dict.fromkeys(self._listed.get(node_id, ()))
            record = act.node(node_id) or {}
            promised = record.get("allocated_to")
            if isinstance(promised, str) and promised and _lives(act.request(promised)):
                owners[promised] = None
            if len(owners) > 1:
                words = f"{act.author.name} has node {node_id} promised to {' and '.join(owners)}"
                where = (act.layout.node(node_id), *map(act.layout.request, owners))
                yield Violation(self.name, act.entry.zxid, words, where)


def _is_min_ready(request: Mapping[str, Any]) -> bool:
    return request.get("requestor") == MIN_READY_REQUESTOR


def _lives(request: Mapping[str, Any] | None) -> bool:
    return request is not None and request.get("state") in ("requested", "pending", "fulfilled")


def _listing(request: Mapping[str, Any]) -> tuple[str, ...]:
    """The nodes that a request is fulfilled with; none if it does not keep them."""
    if request.get("state") != "fulfilled" or _is_min_ready(request):
        return ()
    return _texts(request, "nodes")


def _texts(record: Mapping[str, Any], key: str) -> tuple[str, ...]:
    value = record.get(key)
    if not isinstance(value, list):
        return ()
    return tuple(each for each in value if isinstance(each, str))
