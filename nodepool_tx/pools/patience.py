"""When a request that waits for its last node, or for room, no longer lets others pass.

Smaller requests may take what a larger one could use but cannot complete.
After :data:`PATIENCE` seconds of that they no longer may, provided that the
pool has nodes enough for the larger one at all.  It is the same with the room
within a limit: from then on what comes free of it is kept for the oldest.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from twisted.internet.interfaces import IDelayedCall, IReactorTime

from nodepool_tx.model import Node, NodeRequest, NodeState
from nodepool_tx.pools.accounts import Shortage
from nodepool_tx.pools.interface import PoolSettings
from nodepool_tx.pools.reservations import Age, Reservations
from nodepool_tx.pools.selection import choose
from nodepool_tx.store.nodes import NodeTable
from nodepool_tx.store.usage import Account

__all__ = ["PATIENCE", "Patience", "age_of"]

#: Seconds a request lets smaller ones pass it.
PATIENCE = 300.0

#: Seconds for which the list of a pool's nodes is good enough.
LISTED_FOR = 10.0


def age_of(request: NodeRequest) -> Age:
    """Since when a request waits: smaller is older."""
    return (request.created_time or request.state_time, request.id)


class Patience:
    """Tells for the requests of one pool when their patience ends.

    :param again: called with labels whose nodes may not be kept any more.
    :param over: called with a request that waits for room when its patience ends.
    """

    def __init__(
        self,
        clock: IReactorTime,
        nodes: NodeTable,
        reservations: Reservations,
        settings: PoolSettings,
        again: Callable[[set[str]], None],
        over: Callable[[str], None],
    ) -> None:
        self._clock = clock
        self._nodes = nodes
        self._settings = settings
        self._again = again
        self._over = over
        #: When the patience of requests ends that wait for room.
        self._ends: dict[str, float] = {}
        self._next_end: IDelayedCall | None = None
        self._reservations = reservations
        self._pool = Account.of_pool(settings.provider, settings.name)
        #: By request, since when it waits, of those for which room is kept.
        self._with_room: dict[str, Age] = {}
        self._by_label: dict[str, list[Node]] = {}
        self._listed_at = -LISTED_FOR
        #: By request, the labels of the nodes that are kept for it.
        self._kept: dict[str, set[str]] = {}
        #: By request, the nodes that others were kept from when it was looked at last.
        self._nodes_kept: dict[str, tuple[str, ...]] = {}
        self._doubt: IDelayedCall | None = None

    def keeps(self, request: NodeRequest, nodes: Sequence[Node]) -> bool:
        """Whether these nodes, not enough for the request, are to be kept for it."""
        if not self._is_over(request) or not nodes or not self._can_be_complete(request):
            return False
        self._kept[request.id] = {label for node in nodes for label in node.type}
        if self._doubt is None:
            # Nobody tells when the rest of them will not come back after all.
            self._doubt = self._clock.callLater(LISTED_FOR, self._doubt_all)
        return True

    def keeps_room(self, request: NodeRequest, shortages: Sequence[Shortage]) -> bool:
        """Whether what is short is to be kept for the request when it comes free."""
        age = age_of(request)
        if not self._is_over(request):
            self._ends[request.id] = age[0] + PATIENCE
            self._expect_end()
        if not self._is_over(request) or not self._reservations.keep(self._pool, age, shortages):
            self.forget_room(request.id)
            return False
        self._with_room[request.id] = age
        return True

    def note_kept(self, request_id: str, nodes: Sequence[Node]) -> None:
        """Nothing but these is kept from others for the request now."""
        if nodes:
            self._nodes_kept[request_id] = tuple(node.id for node in nodes)
        else:
            self._nodes_kept.pop(request_id, None)

    def kept_from(self, request_id: str) -> dict[str, str]:
        """The nodes that are kept from a request, and for whom."""
        return {
            node_id: other
            for other, node_ids in self._nodes_kept.items()
            if other != request_id
            for node_id in node_ids
        }

    def keeps_for(self, request_id: str) -> bool:
        """Nodes or room are kept for the request."""
        return request_id in self._nodes_kept or request_id in self._with_room

    def would_keep(self, request: NodeRequest, shortages: Sequence[Shortage]) -> bool:
        """Whether :meth:`keeps_room` might change anything for others."""
        age = age_of(request)
        return self._is_over(request) and not all(
            self._reservations.is_kept(short.account, age) for short in shortages
        )

    def forget_room(self, request_id: str) -> None:
        """The request is not short of anything, or would not be helped."""
        age = self._with_room.pop(request_id, None)
        if age is not None:
            self._reservations.forget(self._pool, age)

    def have_room(self) -> tuple[str, ...]:
        """The requests for which room is kept."""
        return tuple(self._with_room)

    def _expect_end(self) -> None:
        if self._next_end is None and self._ends:
            left = min(self._ends.values()) - self._clock.seconds()
            self._next_end = self._clock.callLater(max(left, 0) + 1, self._on_end)

    def _on_end(self) -> None:
        """Nothing else may tell that somebody has waited too long."""
        self._next_end = None
        now = self._clock.seconds()
        for request_id in [each for each, end in self._ends.items() if end < now]:
            del self._ends[request_id]
            self._over(request_id)
        self._expect_end()

    def _is_over(self, request: NodeRequest) -> bool:
        return self._clock.seconds() - age_of(request)[0] > PATIENCE

    def forget(self, request_id: str) -> None:
        """The request does not wait any more: others may have what was kept for it."""
        self._ends.pop(request_id, None)
        self._nodes_kept.pop(request_id, None)
        self.forget_room(request_id)
        labels = self._kept.pop(request_id, None)
        if labels:
            self._again(labels)

    def forget_all(self) -> None:
        """Keep nothing, and tell nobody here."""
        self._kept, self._ends, self._nodes_kept = {}, {}, {}
        if self._next_end is not None:
            self._next_end.cancel()
            self._next_end = None
        for request_id in tuple(self._with_room):
            self.forget_room(request_id)
        if self._doubt is not None:
            self._doubt.cancel()
            self._doubt = None

    def _doubt_all(self) -> None:
        self._doubt = None
        kept, self._kept = self._kept, {}
        self._again({label for labels in kept.values() for label in labels})

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
