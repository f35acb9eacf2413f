"""How many nodes and requests there are in each state, counted as they change."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import TypeVar

from nodepool_tx.model import Node, NodeRequest, NodeState, RequestState
from nodepool_tx.store.nodes import NodeChange
from nodepool_tx.store.requests import RequestChange
from nodepool_tx.store.store import Store

__all__ = ["Tally"]

S = TypeVar("S", NodeState, RequestState)


class Tally:
    """Counts that cost the same however many nodes there are.

    They are kept from the first question on: where nobody asks they cost nothing.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._following = False
        self._nodes: Counter[NodeState] = Counter()
        self._by_provider: dict[str, Counter[NodeState]] = {}
        self._requests: Counter[RequestState] = Counter()

    def _follow(self) -> None:
        if self._following:
            return
        self._following = True
        for node in self._store.nodes:
            self._count(node, 1)
        for request in self._store.requests:
            self._count_request(request, 1)
        self._store.nodes.subscribe(self._on_node)
        self._store.requests.subscribe(self._on_request)

    def nodes(self) -> dict[str, int]:
        """All nodes, by state; states that none is in are left out."""
        self._follow()
        return _present(self._nodes)

    def nodes_of(self, provider: str) -> dict[str, int]:
        """The nodes of one provider, by state."""
        self._follow()
        return _present(self._by_provider.get(provider, {}))

    def requests(self) -> dict[str, int]:
        """All requests, by state."""
        self._follow()
        return _present(self._requests)

    def _on_node(self, change: NodeChange) -> None:
        before, after = change.before, change.after
        if before is after or _place(before) == _place(after):
            return
        self._count(before, -1)
        self._count(after, 1)

    def _on_request(self, change: RequestChange) -> None:
        if change.before is not change.after:
            self._count_request(change.before, -1)
            self._count_request(change.after, 1)

    def _count(self, node: Node | None, sign: int) -> None:
        if node is None:
            return
        state = node.state
        self._nodes[state] += sign
        if node.provider:
            of_provider = self._by_provider.get(node.provider)
            if of_provider is None:
                of_provider = self._by_provider[node.provider] = Counter()
            of_provider[state] += sign
            if not of_provider[state]:
                del of_provider[state]
                if not of_provider:
                    del self._by_provider[node.provider]

    def _count_request(self, request: NodeRequest | None, sign: int) -> None:
        if request is not None:
            self._requests[request.state] += sign


def _place(node: Node | None) -> tuple[NodeState, str | None] | None:
    """Where a node is counted."""
    return None if node is None else (node.state, node.provider)


def _present(counts: Mapping[S, int]) -> dict[str, int]:
    return dict(sorted((state.value, count) for state, count in counts.items() if count))
