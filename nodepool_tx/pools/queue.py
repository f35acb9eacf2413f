"""Requests that wait, grouped by what they wish.

Within a group the requests differ only in their place, so only the first of
each group need ever be looked at.  Adding, moving and removing a request costs
the logarithm of its group; nothing here walks over all requests.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterable, Iterator

from nodepool_tx.model import NodeRequest, SortKey
from nodepool_tx.pools.rules import Answer, Verdict, Wish

__all__ = ["Group", "WaitingRequests"]


class Group:
    """Waiting requests with one wish, first come first.

    :ivar verdict: what the rules said of the wish; None when they must be
        asked again.
    """

    __slots__ = ("_heap", "_places", "verdict", "wish")

    def __init__(self, wish: Wish) -> None:
        self.wish = wish
        self.verdict: Verdict | None = None
        self._places: dict[str, SortKey] = {}
        #: May hold outdated places, which are dropped when they surface.
        self._heap: list[tuple[SortKey, str]] = []

    def __len__(self) -> int:
        return len(self._places)

    def __contains__(self, request_id: str) -> bool:
        return request_id in self._places

    def put(self, request: NodeRequest) -> None:
        place = request.sort_key
        if self._places.get(request.id) != place:
            self._places[request.id] = place
            heapq.heappush(self._heap, (place, request.id))
            if len(self._heap) > 2 * len(self._places) + 16:
                self._heap = [(place, name) for name, place in self._places.items()]
                heapq.heapify(self._heap)

    def discard(self, request_id: str) -> None:
        self._places.pop(request_id, None)

    def first(self) -> tuple[SortKey, str] | None:
        """Place and id of the next request, or None when none is left."""
        heap = self._heap
        while heap:
            place, request_id = heap[0]
            if self._places.get(request_id) == place:
                return heap[0]
            heapq.heappop(heap)
        return None

    def places(self) -> Iterable[SortKey]:
        """Where its requests stand in the queue, in no order."""
        return self._places.values()

    def ahead_of(self, request_id: str) -> int:
        """How many of this group come before a request; walks the group."""
        place = self._places[request_id]
        return sum(1 for other in self._places.values() if other < place)


class WaitingRequests:
    """The requests a pool has yet to answer."""

    def __init__(self) -> None:
        self._groups: dict[Wish, Group] = {}
        self._group_of: dict[str, Group] = {}
        self._by_label: dict[str, set[Wish]] = {}
        #: Those of more than one node.
        self._larger: dict[str, set[Wish]] = {}
        self._by_tenant: dict[str, set[Wish]] = {}

    def __len__(self) -> int:
        return len(self._group_of)

    def __iter__(self) -> Iterator[Group]:
        return iter(tuple(self._groups.values()))

    def in_order(self) -> list[tuple[str, Group]]:
        """Every group with the id of its first request, in the order of those."""
        heads = ((first, group) for group in self if (first := group.first()) is not None)
        return [(first[1], group) for first, group in sorted(heads, key=lambda head: head[0])]

    def group_of(self, request_id: str) -> Group | None:
        return self._group_of.get(request_id)

    def put(self, request: NodeRequest) -> Group:
        """Add a request, or move it to where it belongs now."""
        wish = Wish.of(request)
        group = self._group_of.get(request.id)
        if group is not None and group.wish != wish:
            self.discard(request.id)
            group = None
        if group is None:
            group = self._groups.get(wish) or self._open(wish)
            self._group_of[request.id] = group
        group.put(request)
        return group

    def discard(self, request_id: str) -> None:
        group = self._group_of.pop(request_id, None)
        if group is None:
            return
        group.discard(request_id)
        if not group:
            self._close(group.wish)

    def asks_for(self, label: str) -> bool:
        """Whether any request asks for it."""
        return label in self._by_label

    def with_labels(self, labels: Iterable[str]) -> set[Group]:
        """The groups that ask for any of these labels."""
        return {self._groups[wish] for label in labels for wish in self._by_label.get(label, ())}

    def larger_with_labels(self, labels: Iterable[str]) -> set[Group]:
        """Those of them that ask for more than one node."""
        return {self._groups[wish] for label in labels for wish in self._larger.get(label, ())}

    def of_tenant(self, tenant: str) -> set[Group]:
        return {self._groups[wish] for wish in self._by_tenant.get(tenant, ())}

    def ahead_of(self, request: NodeRequest) -> Counter[str]:
        """How many that want some of the same come before a request, by precedence.

        Those that the rules say are not for the pool do not count.  Takes time
        by the number of requests.
        """
        place = request.sort_key
        return Counter(
            other[0]
            for group in self.with_labels(set(request.node_types))
            if group.verdict is None or group.verdict.answer is Answer.SERVE
            for other in group.places()
            if other < place
        )

    def _open(self, wish: Wish) -> Group:
        group = self._groups[wish] = Group(wish)
        for index, key in self._keys(wish):
            index.setdefault(key, set()).add(wish)
        return group

    def _close(self, wish: Wish) -> None:
        del self._groups[wish]
        for index, key in self._keys(wish):
            index[key].discard(wish)
            if not index[key]:
                del index[key]

    def _keys(self, wish: Wish) -> Iterator[tuple[dict[str, set[Wish]], str]]:
        """Where a wish stands in the indexes."""
        for label in set(wish.labels):
            yield self._by_label, label
            if len(wish.labels) > 1:
                yield self._larger, label
        if wish.tenant:
            yield self._by_tenant, wish.tenant
