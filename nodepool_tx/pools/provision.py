"""The nodes that a taken request is to get: seen, judged, and replaced."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from twisted.internet.interfaces import IReactorTime

from nodepool_tx.model import Node, NodeRequest, NodeState
from nodepool_tx.pools.following import Taken
from nodepool_tx.pools.interface import NodeMaker, PoolSettings
from nodepool_tx.pools.planning import Plan
from nodepool_tx.pools.reservations import LOOK_AFTER, Reservation, Reservations
from nodepool_tx.pools.transactions import replace
from nodepool_tx.store.change import Uncertain
from nodepool_tx.store.store import Store

__all__ = ["COMING", "FindRoom", "Provision"]

#: States in which a node is still on its way to a request.
COMING = frozenset({NodeState.INIT, NodeState.BUILDING, NodeState.TESTING})

#: Finds nodes for some labels of a request in a zone, besides those that it has,
#: and reserves them and the room for them; None without room.
FindRoom = Callable[
    [NodeRequest, Sequence[str], str | None, Sequence[str]], tuple[Plan, Reservation] | None
]


class Provision:
    """What becomes of the nodes of the requests that a pool has taken.

    :param find_room: for nodes that replace others.
    :param catch_up: lets the tables see what came of a change without an answer.
    """

    def __init__(
        self,
        clock: IReactorTime,
        store: Store,
        reservations: Reservations,
        settings: PoolSettings,
        maker: NodeMaker,
        find_room: FindRoom,
        catch_up: Callable[[], Awaitable[None]],
    ) -> None:
        self._clock = clock
        self._store = store
        self._reservations = reservations
        self._settings = settings
        self._maker = maker
        self._find_room = find_room
        self._catch_up = catch_up

    def nodes(self, taken: Taken) -> list[Node]:
        """Those of its nodes that are there, and those that were put off as they were then."""
        aborted = taken.followed.aborted
        found = (aborted.get(i) or self._store.nodes.get(i) for i in taken.node_ids)
        return [node for node in found if node is not None]

    async def all_seen(self, taken: Taken) -> bool:
        """Have those made that were seen for the first time; False while some were not.

        One that cannot be seen after a while and a barrier is gone again.
        """
        for node_id in tuple(taken.to_make):
            if self._store.nodes.get(node_id) is not None:
                taken.to_make.discard(node_id)
                self._maker.make(node_id, taken.request)
        if not taken.to_make:
            return True
        left = taken.since + LOOK_AFTER - self._clock.seconds()
        if left > 0:
            taken.followed.wake_in(left)
            return False
        await self._store.barrier()
        for node_id in tuple(taken.to_make):
            if self._store.nodes.get(node_id) is not None:
                self._maker.make(node_id, taken.request)
        taken.to_make.clear()
        return True

    def trouble(self, taken: Taken, nodes: Sequence[Node]) -> str:
        """Why the request cannot be served any more; "" if it can."""
        gone = set(taken.node_ids) - {node.id for node in nodes}
        if gone:
            return f"node {min(gone)} is gone, or its record is unreadable"
        for node in nodes:
            if node.state is NodeState.ABORTED:
                continue
            if node.state is not NodeState.READY and node.state not in COMING:
                why = self._maker.why_failed(node.id)
                return f"node {node.id} is {node.state.value}" + (f": {why}" if why else "")
            if node.allocated_to != taken.request.id:
                return f"node {node.id} is promised to {node.allocated_to or 'nobody'}"
        return ""

    async def others(
        self, taken: Taken, request: NodeRequest, labels: Sequence[str]
    ) -> tuple[str, ...] | None:
        """Nodes for these labels in place of some that were put off; None without room.

        :raises Conflict: somebody else was faster.
        :raises Uncertain: the connection broke: perhaps they were created.
        """
        return self._spares(taken, labels) or await self._replacements(taken, request, labels)

    def _spares(self, taken: Taken, labels: Sequence[str]) -> tuple[str, ...] | None:
        """Nodes that were made up for before, though we were not told."""
        spares = [
            node
            for node in self._store.nodes.of_request(taken.request.id)
            if node.id not in taken.node_ids and node.state is NodeState.INIT
        ]
        if sorted(label for node in spares for label in node.type[:1]) != sorted(labels):
            return None
        taken.to_make.update(node.id for node in spares)
        by_label = {label: [n.id for n in spares if n.type[0] == label] for label in labels}
        return tuple(by_label[label].pop() for label in labels)

    async def _replacements(
        self, taken: Taken, request: NodeRequest, labels: Sequence[str]
    ) -> tuple[str, ...] | None:
        room = self._find_room(request, labels, taken.zone, taken.node_ids)
        if room is None:
            return None
        plan, reservation = room
        ids: tuple[str, ...] | None = None
        try:
            ids = await replace(
                self._store,
                self._reservations,
                reservation,
                self._maker,
                self._settings.name,
                request,
                plan,
                taken.lock,
            )
        except Uncertain:
            await self._catch_up()
            raise
        finally:
            self._store.nodes.unreserve([node.id for node in plan.present])
            if ids is None:
                reservation.release()
        if ids is not None:
            reservation.becomes(ids)
            taken.since = self._clock.seconds()
            pairs = zip(ids, plan.nodes, strict=True)
            taken.to_make.update(node_id for node_id, node in pairs if node is None)
        return ids
