"""Nodes and requests, counted as they change."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import NamedTuple, TypeVar

from nodepool_tx.metrics.ages import Ages
from nodepool_tx.model import Node, NodeRequest
from nodepool_tx.store.nodes import NodeChange
from nodepool_tx.store.requests import RequestChange
from nodepool_tx.store.store import Store

__all__ = ["Counts", "LabelKey", "PoolKey"]

K = TypeVar("K")


class PoolKey(NamedTuple):
    """Where nodes belong, and their state; empty names where the record has none."""

    provider: str
    pool: str
    state: str


class LabelKey(NamedTuple):
    """Nodes with a label; one with several is counted under each of them."""

    provider: str
    pool: str
    label: str
    state: str


class Counts:
    """Counts that cost the same with each change, however much there is.

    :ivar ages: of the requests, by state.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._pools: Counter[PoolKey] = Counter()
        self._labels: Counter[LabelKey] = Counter()
        self._requests: Counter[str] = Counter()
        #: What requests ask for, in alphabetical order and each label once.
        self._wishes: Counter[tuple[str, ...]] = Counter()
        self.ages: dict[str, Ages] = {}
        self._unsubscribe: list[Callable[[], None]] = []

    def start(self) -> None:
        """Count what is there, and follow it from now on."""
        for counter in (self._pools, self._labels, self._requests, self._wishes):
            counter.clear()
        self.ages = {}
        for node in self._store.nodes:
            self._count_node(node, 1)
        for request in self._store.requests:
            self._count_request(request, 1)
        self._unsubscribe = [
            self._store.nodes.subscribe(self._on_node),
            self._store.requests.subscribe(self._on_request),
        ]

    def stop(self) -> None:
        for unsubscribe in self._unsubscribe:
            unsubscribe()
        self._unsubscribe = []

    # -- reading ---------------------------------------------------------

    def pools(self) -> Mapping[PoolKey, int]:
        """Nodes by provider, pool and state; each counts once."""
        return self._pools

    def labels(self) -> Mapping[LabelKey, int]:
        """Nodes by provider, pool, label and state."""
        return self._labels

    def requests(self) -> Mapping[str, int]:
        """Requests by state."""
        return self._requests

    def requests_within(self, labels: frozenset[str]) -> int:
        """Requests that ask for nothing but these labels, whatever their state."""
        return sum(count for wish, count in self._wishes.items() if labels.issuperset(wish))

    # -- following -------------------------------------------------------

    def _on_node(self, change: NodeChange) -> None:
        if change.before is not change.after and _place(change.before) != _place(change.after):
            self._count_node(change.before, -1)
            self._count_node(change.after, 1)

    def _on_request(self, change: RequestChange) -> None:
        if change.before is not change.after:
            self._count_request(change.before, -1)
            self._count_request(change.after, 1)

    def _count_node(self, node: Node | None, sign: int) -> None:
        if node is None:
            return
        of_pool, by_label = _keys(node.provider or "", node.pool or "", node.type, node.state.value)
        _add(self._pools, of_pool, sign)
        for key in by_label:
            _add(self._labels, key, sign)

    def _count_request(self, request: NodeRequest | None, sign: int) -> None:
        if request is None:
            return
        state = request.state.value
        _add(self._requests, state, sign)
        _add(self._wishes, _wish(request.node_types), sign)
        made = request.created_time
        ages = self.ages.setdefault(state, Ages())
        (ages.add if sign > 0 else ages.remove)(request.state_time if made is None else made)
        if not len(ages):
            del self.ages[state]


def _place(node: Node | None) -> tuple[object, ...]:
    """Where a node is counted."""
    return () if node is None else (node.provider, node.pool, node.state, node.type)


@lru_cache(maxsize=1000)
def _wish(labels: tuple[str, ...]) -> tuple[str, ...]:
    """In alphabetical order and each once."""
    return tuple(sorted(set(labels)))


@lru_cache(maxsize=1000)
def _keys(
    provider: str, pool: str, labels: tuple[str, ...], state: str
) -> tuple[PoolKey, tuple[LabelKey, ...]]:
    """Under which keys a node counts; the same objects for all that are alike."""
    by_label = tuple(LabelKey(provider, pool, label, state) for label in labels)
    return PoolKey(provider, pool, state), by_label


def _add(counter: Counter[K], key: K, sign: int) -> None:
    count = counter[key] + sign
    if count:
        counter[key] = count
    else:
        del counter[key]
