"""Follows all leases and takes their steps; one of several launchers is enough.

Design note: when something is looked at
----------------------------------------
A lease is marked when it, its request or one of its nodes changes, and when its
time is over.  What is marked is looked at after a barrier, so that a request
that is not to be seen is gone and not merely unread.  All launchers look at the
same moment; those whose step comes too late find it taken.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable

from twisted.application.service import Service
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from nodepool_tx.leases.plan import End, Grant, Step, Tidy, due, plan
from nodepool_tx.leases.steps import ending, forgetting, granting
from nodepool_tx.model import NodeRequest
from nodepool_tx.store.change import Conflict, Uncertain
from nodepool_tx.store.leases import Lease, lease_of
from nodepool_tx.store.maintenance import moment_in_words
from nodepool_tx.store.nodes import NodeChange
from nodepool_tx.store.requests import RequestChange
from nodepool_tx.store.store import Store
from nodepool_tx.work import SingleFlight, Tracker

__all__ = ["LeaseService"]

#: How often a step is tried at once, and seconds until the next time.
ATTEMPTS, PAUSE = 3, 1.0

#: Leases that are looked at together.
BATCH = 100

#: Seconds after which an alarm is set anew, so that a clock that was put right
#: meanwhile is heeded.
LONGEST_ALARM = 3600.0


class LeaseService(Service):
    """Serves waiting leases, ends overdue ones, and forgets those that are over.

    It does so whether or not this launcher is configured to lend anything:
    what was lent elsewhere must come back all the same.
    """

    _log = Logger()

    def __init__(self, clock: IReactorTime, store: Store) -> None:
        self.setName("leases")
        self._clock = clock
        self._store = store
        self._tracker = Tracker(clock)
        self._marked: set[str] = set()
        #: The requests made for each lease, whether or not that exists.
        self._requests: dict[str, set[str]] = {}
        #: Which lease has the nodes that are promised to a request.
        self._holders: dict[str, str] = {}
        self._held: dict[str, str] = {}
        #: When each is to be looked at, and the same by time, with what is out of date.
        self._due: dict[str, float] = {}
        self._alarms: list[tuple[float, str]] = []
        self._alarm: IDelayedCall | None = None
        self._unsubscribe: list[Callable[[], None]] = []
        self._flight = SingleFlight(self._look, "leases")

    # -- life ------------------------------------------------------------

    def startService(self) -> None:
        super().startService()
        store = self._store
        self._unsubscribe = [
            store.leases.subscribe(self._on_lease),
            store.requests.subscribe(self._on_request),
            store.nodes.subscribe(self._on_node),
            store.when_current(lambda current: self._wake()),
        ]
        for request in store.requests:
            self._on_request(RequestChange(request.id, None, request, locked=False))
        for lease in store.leases:
            self._on_lease(lease.id)
        self._wake()

    def stopService(self) -> Deferred[None]:
        super().stopService()
        for unsubscribe in self._unsubscribe:
            unsubscribe()
        self._unsubscribe = []
        self._marked = set()
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
        return self._flight.idle()

    # -- events ----------------------------------------------------------

    def _on_lease(self, lease_id: str) -> None:
        lease = self._store.leases.get(lease_id)
        self._hold(lease_id, None if lease is None or lease.over else lease.request)
        if lease is None:
            self._due.pop(lease_id, None)
        else:
            self._look_at(due(lease), lease_id)
        self._mark(lease_id)

    def _hold(self, lease_id: str, request_id: str | None) -> None:
        before = self._held.pop(lease_id, None)
        if before is not None:
            self._holders.pop(before, None)
        if request_id is not None:
            self._held[lease_id] = request_id
            self._holders[request_id] = lease_id

    def _on_request(self, change: RequestChange) -> None:
        lease_id = self._index(change.request_id, change.before, change.after)
        if lease_id is not None:
            self._mark(lease_id)

    def _index(
        self, request_id: str, before: NodeRequest | None, after: NodeRequest | None
    ) -> str | None:
        """Note whose request it is; the lease's id, if it is or was one's."""
        old = None if before is None else lease_of(before)
        new = None if after is None else lease_of(after)
        if old is not None and old != new:
            made = self._requests.get(old, set())
            made.discard(request_id)
            if not made:
                self._requests.pop(old, None)
        if new is not None:
            self._requests.setdefault(new, set()).add(request_id)
        return new or old

    def _on_node(self, change: NodeChange) -> None:
        if not self._requests and not self._holders:
            # Nobody leases anything.
            return
        before, after = change.before, change.after
        promised = None if after is None else after.allocated_to
        if promised:
            self._mark_holder(promised)
        if before is not None and before.allocated_to and before.allocated_to != promised:
            self._mark_holder(before.allocated_to)

    def _mark_holder(self, request_id: str) -> None:
        """Look at the lease whose request this is, if it is one's."""
        lease_id = self._holders.get(request_id)
        if lease_id is None:
            request = self._store.requests.get(request_id)
            lease_id = None if request is None else lease_of(request)
        if lease_id is not None:
            self._mark(lease_id)

    def _mark(self, lease_id: str) -> None:
        self._marked.add(lease_id)
        self._wake()

    def _wake(self) -> None:
        if self.running and self._store.current and self._marked:
            self._flight.wake()

    # -- time ------------------------------------------------------------

    def _look_at(self, when: float, lease_id: str) -> None:
        if self._due.get(lease_id) == when:
            return
        self._due[lease_id] = when
        heapq.heappush(self._alarms, (when, lease_id))
        if len(self._alarms) > 2 * len(self._due) + 64:
            self._alarms = [(time, each) for each, time in self._due.items()]
            heapq.heapify(self._alarms)
        self._set_alarm()

    def _set_alarm(self) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
        while self._alarms and self._due.get(self._alarms[0][1]) != self._alarms[0][0]:
            heapq.heappop(self._alarms)
        if self._alarms and self.running:
            delay = min(max(0.0, self._alarms[0][0] - self._clock.seconds()), LONGEST_ALARM)
            self._alarm = self._clock.callLater(delay, self._ring)

    def _ring(self) -> None:
        self._alarm = None
        now = self._clock.seconds()
        while self._alarms and self._alarms[0][0] <= now:
            when, lease_id = heapq.heappop(self._alarms)
            if self._due.get(lease_id) == when:
                del self._due[lease_id]
                self._marked.add(lease_id)
        self._set_alarm()
        self._wake()

    # -- looking ---------------------------------------------------------

    async def _look(self) -> None:
        """Take the steps of what is marked; what cannot be done now is marked again."""
        if not self._store.current or not self.running:
            return
        marked, self._marked = self._marked, set()
        try:
            await self._store.barrier()
        except Uncertain:
            # Everything is looked at again when the connection is back.
            self._marked |= marked
            return
        waiting = sorted(marked)
        while waiting and self.running:
            batch, waiting = waiting[:BATCH], waiting[BATCH:]
            steps = [self._tracker.run(f"lease {each}", self._advance(each)) for each in batch]
            await gatherResults(steps)

    async def _advance(self, lease_id: str) -> None:
        for _ in range(ATTEMPTS):
            lease = self._store.leases.get(lease_id)
            if not self.running:
                return
            try:
                if lease is None:
                    await self._remove_orphans(lease_id)
                    return
                step = self.step_of(lease)
                if step is None:
                    self._look_at(due(lease), lease_id)
                    return
                # What follows from it is told as everything else.
                await self._take(lease, step)
                return
            except Conflict as e:
                self._log.debug("lease {lease}: {reason}", lease=lease_id, reason=str(e))
                try:
                    await self._store.barrier()
                except Uncertain:
                    break
            except Uncertain as e:
                self._log.debug("lease {lease}: {reason}", lease=lease_id, reason=str(e))
                break
        self._look_at(self._clock.seconds() + PAUSE, lease_id)

    def requests_of(self, lease_id: str) -> tuple[NodeRequest, ...]:
        """The requests that say they were made for a lease."""
        found = (self._store.requests.get(each) for each in self._requests.get(lease_id, ()))
        return tuple(request for request in found if request is not None)

    def step_of(self, lease: Lease) -> Step | None:
        """What is to be done about a lease now."""
        now = self._clock.seconds()
        return plan(lease, self.requests_of(lease.id), self._store.nodes.get, now)

    async def _take(self, lease: Lease, step: Step) -> None:
        now = self._clock.seconds()
        if isinstance(step, Grant):
            change, ready = granting(self._store, lease, step, now)
            await change.commit()
            self._log.info(
                "lease {lease} of {user!r} has {nodes} until {expires}",
                lease=lease.id,
                user=lease.user,
                nodes=", ".join(ready.nodes),
                expires=moment_in_words(ready.expires),
            )
        elif isinstance(step, End):
            change, over = ending(self._store, lease, step, now)
            await change.commit()
            self._log.info(
                "lease {lease} of {user!r} is over: {reason}",
                lease=lease.id,
                user=lease.user,
                reason=over.reason,
            )
        elif isinstance(step, Tidy):
            for request_id in step.requests:
                await self._remove_request(request_id)
        else:
            await forgetting(self._store, lease).commit()

    async def _remove_orphans(self, lease_id: str) -> None:
        """Remove the requests of a lease that there is not."""
        if not self._store.leases.exists(lease_id):
            for request in self.requests_of(lease_id):
                await self._remove_request(request.id)

    async def _remove_request(self, request_id: str) -> None:
        """Remove a request, whoever works on it: they see it gone and give its nodes back."""
        await self._store.remove_request(request_id)
        await self._store.remove_request_lock(request_id)
        self._log.info("request {request_id} is removed: its lease is over", request_id=request_id)
