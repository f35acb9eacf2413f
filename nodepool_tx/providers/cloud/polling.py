"""One listing for all who wait: how far servers are is asked once for everybody.

While somebody waits, servers are listed one time after the other, with a pause
between; when nobody does, nothing is asked.  A thousand waiters are answered in
many short turns of the reactor, so that a listing keeps nothing else waiting.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from nodepool_tx.providers.cloud.backoff import Backoff
from nodepool_tx.providers.cloud.errors import CloudError
from nodepool_tx.providers.cloud.interface import Instance

__all__ = ["Listing", "Poller"]

#: Work in one turn of the reactor: a comparison of two servers counts 1 (about
#: two microseconds), waking whoever waits counts :data:`_WAKING`.
_SLICE = 400
_WAKING = 40

#: Seconds between attempts while listings fail.
_FIRST_RETRY = 1.0
_LAST_RETRY = 60.0


@attrs.frozen(eq=False, slots=False)
class Listing:
    """All servers of the account at one time.

    :ivar began: when it was asked for (the clock's seconds); what happened
        before is in it.
    :ivar by_id: by external id.
    """

    began: float
    by_id: Mapping[str, Instance] = attrs.field(repr=False)

    @cached_property
    def by_node(self) -> Mapping[str, tuple[Instance, ...]]:
        """By the node they were made for, as their metadata says."""
        found: dict[str, tuple[Instance, ...]] = {}
        for instance in self.by_id.values():
            node_id = instance.node_id
            if node_id is not None:
                found[node_id] = (*found.get(node_id, ()), instance)
        return found

    def get(self, external_id: str) -> Instance | None:
        """The server of that id, if it is there."""
        return self.by_id.get(external_id)

    def of_node(self, node_id: str) -> tuple[Instance, ...]:
        """The servers made for a node: one, unless something went wrong."""
        return self.by_node.get(node_id, ())


@attrs.frozen(eq=False)
class _Change:
    """Somebody who waits for news of one server.

    :ivar after: listings that had begun when the wait did; a later one counts.
    """

    after: int
    external_id: str
    seen: Instance | None


class Poller:
    """Lists servers for everybody who waits for one.

    :param list_instances: asks the cloud.
    :param interval: seconds between the end of a listing and the next.
    """

    _log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        list_instances: Callable[[], Awaitable[Sequence[Instance]]],
        interval: float,
        provider: str = "",
    ) -> None:
        self._clock = clock
        self._list_instances = list_instances
        self._interval = interval
        self._provider = provider
        self._listings: dict[Deferred[Listing], int] = {}
        self._changes: dict[Deferred[Instance | None], _Change] = {}
        self._timer: IDelayedCall | None = None
        self._task: Deferred[Any] | None = None
        #: A listing is on its way, or being told of.
        self._busy = False
        self._not_before = clock.seconds()
        self._begun = 0
        self._backoff = Backoff(max(_FIRST_RETRY, interval), max(_LAST_RETRY, interval))
        #: How many listings came to an end.
        self.listings = 0
        #: The last that did.
        self.last: Listing | None = None
        #: Why the present attempt to list failed; None when the last went well.
        self.trouble: str | None = None

    @property
    def waiting(self) -> int:
        """How many wait for news."""
        return len(self._listings) + len(self._changes)

    def next_listing(self) -> Deferred[Listing]:
        """Fires with the first listing that begins after this call.

        It never fails, and waits while listings do.  May be cancelled.
        """
        waiter: Deferred[Listing] = Deferred(self._leave)
        self._listings[waiter] = self._begun
        self._wake()
        return waiter

    def change_of(self, external_id: str, seen: Instance | None) -> Deferred[Instance | None]:
        """Fires with the server when it is something else than ``seen``.

        None stands for a server that is not there.  Only listings that begin
        after this call count.  It never fails, and may be cancelled.
        """
        waiter: Deferred[Instance | None] = Deferred(self._leave)
        self._changes[waiter] = _Change(self._begun, external_id, seen)
        self._wake()
        return waiter

    def _leave(self, waiter: Deferred[Any]) -> None:
        self._listings.pop(waiter, None)
        self._changes.pop(waiter, None)
        if not self.waiting:
            self._rest()

    def _rest(self) -> None:
        """Nobody waits: ask nothing."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
            self._busy = False
        if self._task is not None:
            self._task.cancel()

    def _wake(self) -> None:
        if not self._busy and self._timer is None and self.waiting:
            # Not at once, so that all who come in this turn share the listing.
            pause = max(0.0, self._not_before - self._clock.seconds())
            self._timer = self._clock.callLater(pause, self._begin)

    def _begin(self) -> None:
        self._timer = None
        self._busy = True
        self._begun += 1
        self._task = Deferred.fromCoroutine(self._list(self._clock.seconds()))
        self._task.addCallbacks(self._listed, self._failed)

    async def _list(self, began: float) -> Listing:
        instances = await self._list_instances()
        return Listing(began, {instance.external_id: instance for instance in instances})

    def _listed(self, listing: Listing) -> None:
        self._task = None
        self._backoff.reset()
        self._not_before = self._clock.seconds() + self._interval
        self.last = listing
        self.listings += 1
        self.trouble = None
        self._go_on(self._tell(listing, self._begun))

    def _failed(self, failure: Failure) -> None:
        self._task = None
        self._busy = False
        if not self.waiting:
            # It was given up as nobody waits for it.
            return
        pause = self._backoff.next()
        self._not_before = self._clock.seconds() + pause
        self.trouble = f"servers cannot be listed: {failure.getErrorMessage()}"
        self._log.warn(
            "provider {provider}: {trouble}; tried again in {pause:.0f} seconds",
            provider=self._provider,
            trouble=self.trouble,
            pause=pause,
            **({} if failure.check(CloudError) else {"log_failure": failure}),
        )
        self._wake()

    def _go_on(self, steps: Iterator[int]) -> None:
        """Tell those who wait, so many in each turn of the reactor."""
        self._timer = None
        room = _SLICE
        for cost in steps:
            room -= cost
            if room <= 0 and self.waiting:
                self._timer = self._clock.callLater(0, self._go_on, steps)
                return
        self._busy = False
        self._wake()

    def _tell(self, listing: Listing, number: int) -> Iterator[int]:
        """Wakes who is to be woken; yields what each step cost."""
        for waiter, after in tuple(self._listings.items()):
            if after < number and self._listings.pop(waiter, None) is not None:
                waiter.callback(listing)
                yield _WAKING
        by_id = listing.by_id
        for waiting, change in tuple(self._changes.items()):
            if change.after >= number or waiting not in self._changes:
                continue
            now = by_id.get(change.external_id)
            if _same(now, change.seen):
                yield 1
                continue
            del self._changes[waiting]
            waiting.callback(now)
            yield _WAKING


def _same(now: Instance | None, seen: Instance | None) -> bool:
    """Errors are equal only to themselves, and each listing makes them anew."""
    if now is None or seen is None or now.fault is None or seen.fault is None:
        return now == seen
    same_fault = type(now.fault) is type(seen.fault) and str(now.fault) == str(seen.fault)
    return same_fault and attrs.evolve(now, fault=seen.fault) == seen
