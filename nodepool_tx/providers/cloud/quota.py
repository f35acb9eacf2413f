"""How much of a cloud is ours to use: its quota, less what others use of it.

The pools ask at any moment and get their answer from memory; here the cloud is
asked ahead of them.  What the cloud says and what it does may differ: when it
refuses a server for want of quota, nothing more is asked of it until something
was deleted, or a pause has passed that grows with every refusal.
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Iterable

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from nodepool_tx.providers.cloud.backoff import Backoff
from nodepool_tx.providers.cloud.errors import CloudError
from nodepool_tx.providers.cloud.interface import PROVIDER_NAME, Instance
from nodepool_tx.providers.cloud.polling import Listing
from nodepool_tx.resources import Amounts, number
from nodepool_tx.work import Tracker

__all__ = ["ProviderQuota", "QuotaStatus", "used_by_others"]

#: Seconds until the quota is read again.
INTERVAL = 300.0

#: Seconds until it is read again where that failed.
FIRST_RETRY = 2.0
LONGEST_RETRY = 120.0

#: Seconds for which a refusal holds where nothing is deleted.
FIRST_PAUSE = 15.0
LONGEST_PAUSE = 600.0


@attrs.frozen
class QuotaStatus:
    """What is known, for people.

    :ivar quota: as the cloud last said; None if it never did.
    :ivar others: what is used of it by servers that are none of ours.
    :ivar read: when that was (the clock's seconds).
    :ivar refusal: why nothing more is asked for now.
    :ivar refused_until: until when at the most.
    :ivar trouble: why the quota could not be read.
    """

    quota: Amounts | None
    others: Amounts
    read: float | None
    refusal: str | None
    refused_until: float | None
    trouble: str | None


def used_by_others(
    instances: Iterable[Instance], provider: str, is_known: Callable[[str], bool]
) -> dict[str, float]:
    """What servers use that are not accounted for as nodes of ``provider``.

    A server of which nothing else is known counts as one instance.
    """
    used: dict[str, float] = {}
    for instance in instances:
        node_id = instance.node_id
        ours = instance.metadata.get(PROVIDER_NAME) == provider
        if ours and node_id is not None and is_known(node_id):
            continue
        for resource, amount in (instance.resources or {"instances": 1}).items():
            used[resource] = used.get(resource, 0) + amount
    return used


class ProviderQuota:
    """Keeps reading one account's quota, one reading at a time.

    :param read: asks the cloud for the limits of the account.
    :param next_listing: a listing of its servers that begins now.
    :param is_known: whether there is a node of that id.
    """

    _log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        provider: str,
        read: Callable[[], Awaitable[Amounts]],
        next_listing: Callable[[], Awaitable[Listing]],
        is_known: Callable[[str], bool],
        *,
        interval: float = INTERVAL,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._clock = clock
        self._provider = provider
        self._read = read
        self._next_listing = next_listing
        self._is_known = is_known
        self._interval = interval
        self._retry = Backoff(FIRST_RETRY, LONGEST_RETRY, chance)
        self._pause = Backoff(FIRST_PAUSE, LONGEST_PAUSE, chance)
        self._tracker = Tracker(clock)
        self._asleep: Deferred[None] | None = None
        self._stale = False
        self._limits: dict[str, float] | None = None
        self._status = QuotaStatus(None, {}, None, None, None, None)
        self._refusal: IDelayedCall | None = None
        self._refused_at: float | None = None
        self._observers: list[Callable[[], None]] = []

    # -- answers ---------------------------------------------------------

    @property
    def limits(self) -> Amounts | None:
        """What our nodes may use together; None if that is not known yet."""
        return self._limits

    @property
    def refusal(self) -> str | None:
        """Why nothing more is to be asked of the cloud now, if so.

        It passes, so it is a reason to wait.  It does not lower
        :attr:`limits`: a request that is larger than what is in use just now
        would be taken for one that can never be served.
        """
        return self._status.refusal

    @property
    def trouble(self) -> str | None:
        """Why the quota could not be read, if the last reading failed."""
        return self._status.trouble

    def describe(self) -> QuotaStatus:
        return self._status

    def subscribe(self, observer: Callable[[], None]) -> Callable[[], None]:
        """Hear whenever answers have changed; returns its removal."""
        self._observers.append(observer)

        def remove() -> None:
            if observer in self._observers:
                self._observers.remove(observer)

        return remove

    # -- what happens ----------------------------------------------------

    def start(self) -> None:
        """Begin to read, unless that has begun.

        Not before all nodes are known: ours would be taken for others'.
        """
        if self._asleep is None and not len(self._tracker):
            self._tracker.run("reading the quota", self._keep())

    def stop(self) -> Deferred[None]:
        """Read no more; fires when nothing is being read."""
        self._lift()
        self._tracker.cancel()
        return self._tracker.idle()

    def invalidate(self) -> None:
        """What was read holds no more: read again now, or once more."""
        self._stale = True
        if self._asleep is not None:
            asleep, self._asleep = self._asleep, None
            asleep.callback(None)

    def refused(self, needs: Amounts, reason: str = "") -> None:
        """The cloud's quota did not allow a server that needs so much."""
        now = self._clock.seconds()
        self.invalidate()
        if self._refusal is not None:
            # One of several that were asked for at the same time.
            return
        if self._refused_at is not None and now - self._refused_at > 2 * LONGEST_PAUSE:
            self._pause.reset()
        self._refused_at = now
        pause = self._pause.next()
        amounts = ", ".join(f"{name} {number(amount)}" for name, amount in sorted(needs.items()))
        refusal = f"the cloud refused {amounts} for its quota"
        self._status = attrs.evolve(
            self._status,
            refusal=f"{refusal}: {reason}" if reason else refusal,
            refused_until=now + pause,
        )
        self._refusal = self._clock.callLater(pause, self.freed)
        self._changed()

    def freed(self) -> None:
        """Something of ours was deleted: there may be room again."""
        if self._lift():
            self._changed()

    def _lift(self) -> bool:
        if self._refusal is None:
            return False
        if self._refusal.active():
            self._refusal.cancel()
        self._refusal = None
        self._status = attrs.evolve(self._status, refusal=None, refused_until=None)
        return True

    # -- reading ---------------------------------------------------------

    async def _keep(self) -> None:
        while True:
            self._stale = False
            pause = await self._refresh()
            if not self._stale:
                await self._sleep(pause)

    async def _sleep(self, seconds: float) -> None:
        asleep: Deferred[None] = Deferred()
        self._asleep = asleep
        timer = self._clock.callLater(seconds, self.invalidate)
        try:
            await asleep
        finally:
            self._asleep = None
            if timer.active():
                timer.cancel()

    async def _refresh(self) -> float:
        """Read once; returns after how many seconds to read again."""
        before = (self._limits, self._status.trouble)
        try:
            quota = dict(await self._read())
            listing = await self._next_listing()
        except CloudError as error:
            pause = self._retry.next()
            trouble = f"the quota cannot be read: {error}"
            self._status = attrs.evolve(self._status, trouble=trouble)
            self._log.warn(
                "provider {provider}: {trouble}; tried again in {pause:.0f} seconds",
                provider=self._provider,
                trouble=trouble,
                pause=pause,
            )
        else:
            self._retry.reset()
            pause = self._interval
            others = used_by_others(listing.by_id.values(), self._provider, self._is_known)
            self._limits = {
                resource: max(0, limit - others.get(resource, 0))
                for resource, limit in quota.items()
            }
            self._status = attrs.evolve(
                self._status,
                quota=quota,
                others=others,
                read=self._clock.seconds(),
                trouble=None,
            )
        if (self._limits, self._status.trouble) != before:
            self._changed()
        return pause

    def _changed(self) -> None:
        for observer in tuple(self._observers):
            observer()
