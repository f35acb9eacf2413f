"""Waiting for a lease to change, for people who ask over HTTP.

At most one waits for each lease: who asks anew takes the place of who asked
before.  So nobody has more connections that wait than they may have leases.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from nodepool_tx.store.leases import Lease, LeaseState, LeaseTable

__all__ = ["LONGEST_WAIT", "MOST_WAITING", "Polls"]

#: Seconds for which somebody may wait at a time.
LONGEST_WAIT = 60

#: How many may wait at the same time; the others are answered at once.
MOST_WAITING = 100


class Polls(Service):
    """Those who wait."""

    def __init__(self, clock: IReactorTime, leases: LeaseTable) -> None:
        self.setName("lease polls")
        self._clock = clock
        self._leases = leases
        self._waiting: dict[str, tuple[LeaseState, Deferred[None]]] = {}
        self._unsubscribe: Callable[[], None] | None = None

    def __len__(self) -> int:
        return len(self._waiting)

    def startService(self) -> None:
        super().startService()
        self._unsubscribe = self._leases.subscribe(self._on_lease)

    def stopService(self) -> None:
        """Answer everybody now."""
        super().stopService()
        if self._unsubscribe is not None:
            self._unsubscribe()
            self._unsubscribe = None
        for lease_id in tuple(self._waiting):
            self._release(lease_id)

    async def until_not(self, lease: Lease, state: LeaseState, seconds: float) -> None:
        """Wait until a lease is in another state, it is gone, or the time is over."""
        known = self._leases.get(lease.id)
        if not self.running or known is None or known.state is not state or seconds <= 0:
            return
        self._release(lease.id)
        if len(self._waiting) >= MOST_WAITING:
            return
        waiter: Deferred[None] = Deferred()
        place = (state, waiter)
        self._waiting[lease.id] = place
        timer = self._clock.callLater(seconds, self._release, lease.id)
        try:
            await waiter
        finally:
            if timer.active():
                timer.cancel()
            if self._waiting.get(lease.id) is place:
                del self._waiting[lease.id]

    def _release(self, lease_id: str) -> None:
        place = self._waiting.pop(lease_id, None)
        if place is not None:
            place[1].callback(None)

    def _on_lease(self, lease_id: str) -> None:
        place = self._waiting.get(lease_id)
        lease = self._leases.get(lease_id)
        if place is not None and (lease is None or lease.state is not place[0]):
            self._release(lease_id)
