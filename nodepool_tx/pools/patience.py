"""When a request that waits for its last node no longer lets others pass.

Smaller requests may take what a larger one could use but cannot complete.
After :data:`PATIENCE` seconds of that they no longer may, provided that the
pool has nodes enough for the larger one at all.
"""

from __future__ import annotations

from twisted.internet.interfaces import IReactorTime

from nodepool_tx.model import Node, NodeRequest, NodeState
from nodepool_tx.pools.interface import PoolSettings
from nodepool_tx.pools.selection import choose
from nodepool_tx.store.nodes import NodeTable

__all__ = ["PATIENCE", "Patience"]

#: Seconds a request lets smaller ones pass it.
PATIENCE = 300.0

#: Seconds for which the list of a pool's nodes is good enough.
LISTED_FOR = 10.0


class Patience:
    """Tells for the requests of one pool when their patience ends."""

    def __init__(self, clock: IReactorTime, nodes: NodeTable, settings: PoolSettings) -> None:
        self._clock = clock
        self._nodes = nodes
        self._settings = settings
        self._by_label: dict[str, list[Node]] = {}
        self._listed_at = -LISTED_FOR

    def has_ended(self, request: NodeRequest) -> bool:
        """It has waited long, and it is worth keeping nodes for it."""
        waited = self._clock.seconds() - (request.created_time or request.state_time)
        return waited > PATIENCE and self._can_be_complete(request)

    def _can_be_complete(self, request: NodeRequest) -> bool:
        """The pool has nodes enough for it, once they return."""
        self._list()

        def having(label: str, at_most: int) -> list[Node]:
            return self._by_label.get(label, [])[:at_most]

        return None not in choose(request.node_types, having)

    def _list(self) -> None:
        """Who holds a node returns it when a person wants to: do not wait for that."""
        now = self._clock.seconds()
        if now - self._listed_at < LISTED_FOR:
            return
        self._listed_at = now
        self._by_label = {}
        for node in self._nodes.of_provider(self._settings.provider):
            if node.pool == self._settings.name and node.state is not NodeState.HOLD:
                for label in node.type:
                    self._by_label.setdefault(label, []).append(node)
