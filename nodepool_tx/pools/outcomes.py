"""Telling everybody who counts it how requests have ended."""

from __future__ import annotations

from twisted.internet.interfaces import IReactorTime

from nodepool_tx.events import Events, RequestEnded
from nodepool_tx.model import NodeRequest
from nodepool_tx.pools.interface import PoolSettings

__all__ = ["Outcomes"]

#: Declined requests whose reasons are remembered.
REMEMBERED = 1000


class Outcomes:
    """The ends of the requests that one pool answers."""

    def __init__(self, events: Events, clock: IReactorTime, settings: PoolSettings) -> None:
        self._events = events
        self._clock = clock
        self._settings = settings
        #: By request, why it was declined, and when; the oldest first.
        self._reasons: dict[str, tuple[str, float]] = {}

    def why_declined(self, request_id: str) -> tuple[str, float] | None:
        """Why a request was declined here, and when, as long as that is remembered."""
        return self._reasons.get(request_id)

    def fulfilled(self, request: NodeRequest) -> None:
        """It has got its nodes."""
        self._tell(request, "fulfilled")

    def declined(self, request: NodeRequest, failed: bool, reason: str) -> None:
        """This pool has said no; ``failed`` if everyone has by now."""
        self._reasons[request.id] = (reason, self._clock.seconds())
        while len(self._reasons) > REMEMBERED:
            del self._reasons[next(iter(self._reasons))]
        self._tell(request, "failed" if failed else "declined")

    def _tell(self, request: NodeRequest, result: str) -> None:
        if not self._events.heard:
            return
        # Older clients do not say when they made it.
        made = request.created_time
        if made is None:
            made = request.state_time
        self._events.publish(
            RequestEnded(
                request_id=request.id,
                provider=self._settings.provider,
                pool=self._settings.name,
                labels=request.node_types,
                result=result,
                seconds=max(0.0, self._clock.seconds() - made),
                tenant=request.tenant_name,
                requestor=request.requestor,
            )
        )
