"""What there is of each label, counted as the tables change.

Design note: nothing is missed and nothing counted twice
--------------------------------------------------------
A node that is made for a ``min-ready`` request goes through many hands: the
request waits, is taken, the node is promised to it and built, the request is
fulfilled, it is removed, the node is free.  Its records are seen to change one
after the other, in any order where they were changed together, and whoever
works on it may die at any point.  So a request counts as long as it waits, and
from then on its node does; and a node that is promised to a request which is
gone counts as what it will be, in stock.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from functools import lru_cache

import attrs

from nodepool_tx.model import Node, NodeRequest, NodeState, RequestState
from nodepool_tx.store.nodes import NodeChange
from nodepool_tx.store.requests import RequestChange
from nodepool_tx.store.store import Store

__all__ = ["Stock"]

_ON_THEIR_WAY = (NodeState.INIT, NodeState.BUILDING, NodeState.TESTING)

_READY, _BUILDING = "ready", "building"

_NO_LABELS: frozenset[str] = frozenset()


@attrs.frozen
class _Counted:
    """What a node counts as, and for which labels."""

    kind: str
    labels: tuple[str, ...]


@lru_cache(maxsize=1000)
def _counted(kind: str, labels: tuple[str, ...]) -> _Counted:
    """The same object for all nodes that are alike."""
    return _Counted(kind, tuple(dict.fromkeys(labels)))


class Stock:
    """Nodes and ``min-ready`` requests by label.

    :param changed: told the labels of which something may be different.
    """

    def __init__(self, store: Store, changed: Callable[[Iterable[str]], None]) -> None:
        self._store = store
        self._changed = changed
        self._counted: dict[str, _Counted] = {}
        self._ready: Counter[str] = Counter()
        self._building: dict[str, set[str]] = {}
        self._requests: dict[str, set[str]] = {}
        self._labels: dict[str, tuple[str, ...]] = {}
        self._unsubscribe: list[Callable[[], None]] = []

    def start(self) -> None:
        """Count what is there, and follow it, unless that is done already."""
        if self._unsubscribe:
            return
        self._unsubscribe = [
            self._store.nodes.subscribe(self._on_node),
            self._store.requests.subscribe(self._on_request),
        ]
        for request in self._store.requests:
            self._index(request.id, request)
        for node in self._store.nodes:
            self._count(node.id, node)

    def stop(self) -> None:
        for unsubscribe in self._unsubscribe:
            unsubscribe()
        self._unsubscribe = []
        for counts in (self._counted, self._ready, self._building, self._requests, self._labels):
            counts.clear()

    # -- reading ---------------------------------------------------------

    def ready(self, label: str) -> int:
        """Nodes in stock, or as good as that."""
        return self._ready[label]

    def building(self, label: str) -> list[Node]:
        """Nodes on their way that are promised to nobody."""
        ids = self._building.get(label, ())
        return [node for node_id in ids if (node := self._store.nodes.get(node_id))]

    def requests(self, label: str) -> list[NodeRequest]:
        """The ``min-ready`` requests, in whatever state, in the order they were made."""
        ids = self._requests.get(label)
        if not ids:
            return []
        return [request for each in sorted(ids) if (request := self._store.requests.get(each))]

    # -- following -------------------------------------------------------

    def _on_node(self, change: NodeChange) -> None:
        node = change.after
        touched = self._count(change.node_id, node)
        if node is not None and node.allocated_to and node.allocated_to in self._labels:
            # Whoever waits to let it go may try again.
            touched = touched.union(self._labels[node.allocated_to])
        if touched:
            self._changed(touched)

    def _on_request(self, change: RequestChange) -> None:
        touched = self._index(change.request_id, change.after)
        for node in self._store.nodes.of_request(change.request_id):
            touched = touched.union(self._count(node.id, node))
        if touched:
            self._changed(touched)

    def _index(self, request_id: str, request: NodeRequest | None) -> frozenset[str]:
        """Note which labels a request is for; returns those before and now."""
        before = self._labels.pop(request_id, ())
        for label in before:
            self._requests[label].discard(request_id)
        now: tuple[str, ...] = ()
        if request is not None and request.is_min_ready:
            now = self._labels[request_id] = tuple(dict.fromkeys(request.node_types))
            for label in now:
                self._requests.setdefault(label, set()).add(request_id)
        return frozenset((*before, *now)) if before or now else _NO_LABELS

    def _count(self, node_id: str, node: Node | None) -> frozenset[str]:
        """Count a node anew; returns the labels for which that made a difference."""
        before, now = self._counted.get(node_id), self._counted_as(node)
        if before is now or before == now:
            return _NO_LABELS
        if before is not None:
            del self._counted[node_id]
            self._add(node_id, before, -1)
        if now is not None:
            self._counted[node_id] = now
            self._add(node_id, now, 1)
        return frozenset(label for counted in (before, now) if counted for label in counted.labels)

    def _counted_as(self, node: Node | None) -> _Counted | None:
        kind = self._kind(node) if node is not None else None
        if node is None or kind is None:
            return None
        return _counted(kind, node.type)

    def _add(self, node_id: str, counted: _Counted, sign: int) -> None:
        for label in counted.labels:
            if counted.kind == _READY:
                self._ready[label] += sign
                continue
            ids = self._building.setdefault(label, set())
            ids.add(node_id) if sign > 0 else ids.discard(node_id)

    def _kind(self, node: Node) -> str | None:
        """What a node counts as."""
        state, promised = node.state, node.allocated_to
        on_its_way = state in _ON_THEIR_WAY
        if not on_its_way and state is not NodeState.READY:
            return None
        if not promised:
            return _BUILDING if on_its_way else _READY
        gone = not self._store.requests.exists(promised)
        if on_its_way:
            return _BUILDING if gone else None
        if gone:
            # A client locks its nodes before it removes the request.
            return None if self._store.nodes.is_locked(node.id) else _READY
        return _READY if self._is_fulfilled(promised) else None

    def _is_fulfilled(self, request_id: str) -> bool:
        request = self._store.requests.get(request_id)
        return (
            request is not None and request.is_min_ready and request.state is RequestState.FULFILLED
        )
