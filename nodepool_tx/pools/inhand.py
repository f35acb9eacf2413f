"""Everything that a pool has in hand: requests being answered, and those it has taken."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.interfaces import IReactorTime

from nodepool_tx.model import Node, NodeRequest
from nodepool_tx.pools.answering import Answering, PassStatistics
from nodepool_tx.pools.interface import NodeMaker, NodeSource, PoolSettings
from nodepool_tx.pools.outcomes import Outcomes
from nodepool_tx.pools.planning import Plan
from nodepool_tx.pools.provision import FindRoom
from nodepool_tx.pools.reservations import Reservation, Reservations
from nodepool_tx.pools.taking import Taking
from nodepool_tx.store.store import Store

__all__ = ["InHand"]

#: Requests that are declined at the same time.
DECLINING_AT_ONCE = 50


class InHand:
    """The tasks of one pool.

    :param maker: None where nothing is made, and so nothing is taken.
    :param on_ended: called when a request was served, or given up.
    :param on_declined: called when a request was declined, or could not be.
    """

    def __init__(
        self,
        clock: IReactorTime,
        store: Store,
        reservations: Reservations,
        settings: PoolSettings,
        source: NodeSource,
        maker: NodeMaker | None,
        statistics: PassStatistics,
        outcomes: Outcomes,
        pool_id: Callable[[], str],
        find_room: FindRoom,
        on_ended: Callable[[NodeRequest], None],
        on_declined: Callable[[NodeRequest], None],
    ) -> None:
        self._nodes = store.nodes
        self._pool_id = pool_id
        self._on_ended = on_ended
        self._answering = Answering(
            clock,
            store,
            reservations,
            settings,
            source,
            statistics,
            outcomes,
            self._on_served,
            on_declined,
        )
        self._taking: Taking | None = None
        if maker is not None:
            self._taking = Taking(
                clock,
                store,
                reservations,
                settings,
                source,
                maker,
                statistics,
                outcomes,
                pool_id,
                find_room,
                on_ended,
            )

    def __contains__(self, request_id: str) -> bool:
        return bool(self.why(request_id))

    def why(self, request_id: str) -> str:
        """What a request in our hands waits for; "" if it is not in our hands."""
        if self._taking is not None and request_id in self._taking:
            return self._taking.why(request_id)
        return "being served now" if request_id in self._answering else ""

    def serve(self, request: NodeRequest, plan: Plan, reservation: Reservation) -> None:
        """Give a request what was planned and reserved for it."""
        if plan.from_stock or self._taking is None:
            self._answering.serve(request, plan.present, reservation)
        else:
            self._taking.start(request, plan, reservation)

    def _on_served(self, request: NodeRequest, nodes: Sequence[Node]) -> None:
        self._nodes.unreserve([node.id for node in nodes])
        self._on_ended(request)

    def decline(self, request: NodeRequest, reason: str) -> bool:
        """Say no; False if too many are being declined already."""
        if self._answering.declining >= DECLINING_AT_ONCE:
            return False
        self._answering.decline(request, self._pool_id(), reason)
        return True

    def forget(self, request_id: str) -> None:
        """There is no such request any more."""
        if self._taking is not None:
            self._taking.forget(request_id)

    def open(self) -> None:
        """Go on, perhaps after :meth:`cancel`."""
        if self._taking is not None:
            self._taking.open()

    def cancel(self) -> None:
        """Cut short what is in flight; leave requests that were taken to the janitor."""
        self._answering.tracker.cancel()
        if self._taking is not None:
            self._taking.cancel()

    def decided(self) -> Deferred[None]:
        """Fires when no decision is in flight; requests that were taken go on."""
        waits = [self._answering.tracker.idle()]
        if self._taking is not None:
            waits.append(self._taking.deciding.idle())
        return gatherResults(waits).addCallback(lambda _: None)

    def empty(self) -> Deferred[None]:
        """Fires when requests that were taken have come to their end, too."""
        taking = self._taking
        return self.decided().addCallback(
            lambda _: taking.taken.idle() if taking is not None else None
        )

    def tasks(self) -> tuple[tuple[str, float], ...]:
        """What is being worked on and since when."""
        trackers = [self._answering.tracker]
        if self._taking is not None:
            trackers += [self._taking.deciding, self._taking.taken]
        return tuple((task.what, task.since) for each in trackers for task in each.tasks())
