"""Answering single requests: each one a task, from the choice to its outcome."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import attrs
from twisted.internet.defer import CancelledError
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger

from nodepool_tx.model import Node, NodeRequest
from nodepool_tx.pools.fitness import are_fit
from nodepool_tx.pools.interface import NodeSource, PoolSettings
from nodepool_tx.pools.outcomes import Outcomes
from nodepool_tx.pools.reservations import Reservation, Reservations
from nodepool_tx.pools.transactions import decline, fulfil
from nodepool_tx.store.change import Conflict, Uncertain
from nodepool_tx.store.store import Store
from nodepool_tx.work import Tracker

__all__ = ["RETRY", "Answering", "PassStatistics"]

#: Seconds until something is tried again that did not work, if nothing happens before.
RETRY = 1.0


@attrs.define
class PassStatistics:
    """How the passes of a pool went; times in seconds."""

    passes: int = 0
    groups_seen: int = 0
    served: int = 0
    declined: int = 0
    conflicts: int = 0
    last_duration: float = 0.0
    longest_duration: float = 0.0

    def note_pass(self, groups_seen: int, duration: float) -> None:
        self.passes += 1
        self.groups_seen += groups_seen
        self.last_duration = duration
        self.longest_duration = max(self.longest_duration, duration)


class Answering:
    """The requests of a pool that are being answered.

    :param on_served: called when the nodes are given, or given up.
    :param on_declined: called when a request was declined, or could not be.
    :ivar tracker: the tasks.
    :ivar declining: how many requests are being declined.
    """

    _log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        store: Store,
        reservations: Reservations,
        settings: PoolSettings,
        source: NodeSource,
        statistics: PassStatistics,
        outcomes: Outcomes,
        on_served: Callable[[NodeRequest, Sequence[Node]], None],
        on_declined: Callable[[NodeRequest], None],
    ) -> None:
        self._clock = clock
        self._store = store
        self._reservations = reservations
        self._settings = settings
        self._source = source
        self._statistics = statistics
        self._outcomes = outcomes
        self._on_served = on_served
        self._on_declined = on_declined
        self._requests: set[str] = set()
        self.tracker = Tracker(clock)
        self.declining = 0

    def __contains__(self, request_id: str) -> bool:
        return request_id in self._requests

    def serve(self, request: NodeRequest, nodes: Sequence[Node], reservation: Reservation) -> None:
        """Check these nodes, which are reserved, and promise them to the request."""
        self._requests.add(request.id)
        task = self._serve(request, nodes, reservation)
        self.tracker.run(f"serving request {request.id}", task)

    def decline(self, request: NodeRequest, pool_id: str, reason: str) -> None:
        """Say no in the name of a pool."""
        self._requests.add(request.id)
        self.declining += 1
        task = self._decline(request, pool_id, reason)
        self.tracker.run(f"declining request {request.id}", task)

    async def _serve(
        self, request: NodeRequest, nodes: Sequence[Node], reservation: Reservation
    ) -> None:
        try:
            if await are_fit(self._source, nodes) and await fulfil(
                self._store, self._reservations, reservation, request, nodes
            ):
                reservation.becomes([node.id for node in nodes])
                self._tell_served(request, nodes)
        except Conflict as conflict:
            self._statistics.conflicts += 1
            self._log.debug(
                "request {request_id} is tried again: {reason}",
                request_id=request.id,
                event_id=request.event_id,
                reason=str(conflict),
            )
            await self._catch_up()
        except Uncertain as e:
            self._log.info(
                "request {request_id}: ZooKeeper did not answer ({reason}), looking again later",
                request_id=request.id,
                event_id=request.event_id,
                reason=str(e),
            )
        except CancelledError:
            raise
        except Exception:
            await self._pause(request)
        finally:
            reservation.release()
            self._requests.discard(request.id)
            self._on_served(request, nodes)

    async def _pause(self, request: NodeRequest) -> None:
        """Tell of what nobody has foreseen; at once it would most likely go the same way."""
        self._log.failure(
            "request {request_id} could not be answered",
            request_id=request.id,
            event_id=request.event_id,
        )
        await deferLater(self._clock, RETRY)

    async def _catch_up(self) -> None:
        """Let the tables see what a refused change has just taught us."""
        try:
            await self._store.barrier()
        except Uncertain as e:
            self._log.debug("not caught up: {reason}", reason=str(e))

    def _tell_served(self, request: NodeRequest, nodes: Sequence[Node]) -> None:
        self._statistics.served += 1
        self._outcomes.fulfilled(request)
        self._log.info(
            "fulfilled request {request_id} with {node_ids} from {provider}/{pool}",
            request_id=request.id,
            event_id=request.event_id,
            node_ids=", ".join(node.id for node in nodes),
            provider=self._settings.provider,
            pool=self._settings.name,
        )

    async def _decline(self, request: NodeRequest, pool_id: str, reason: str) -> None:
        try:
            failed = await decline(self._store, request, pool_id)
            self._statistics.declined += 1
            self._outcomes.declined(request, failed, reason)
            self._log.info(
                "{provider}/{pool} declined request {request_id}: {reason}{outcome}",
                provider=self._settings.provider,
                pool=self._settings.name,
                request_id=request.id,
                event_id=request.event_id,
                reason=reason,
                outcome="; everyone has, so it failed" if failed else "",
            )
        except (Conflict, Uncertain) as e:
            self._log.debug(
                "request {request_id} could not be declined now: {reason}",
                request_id=request.id,
                event_id=request.event_id,
                reason=str(e),
            )
            await self._catch_up()
        except CancelledError:
            raise
        except Exception:
            await self._pause(request)
        finally:
            self.declining -= 1
            self._requests.discard(request.id)
            self._on_declined(request)
