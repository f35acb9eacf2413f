"""What can be had of a cloud: which labels, what each counts for, in which zones.

The pools ask at any moment and get their answers from memory; here the cloud is
asked ahead of them, at the start, again after a while, and sooner where it did
not answer.

These questions do not wait for their turn: an adapter answers those of all
labels from a list or two that it has read, and a provider that was reloaded
would serve nobody until it had asked about its last label.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger

from nodepool_tx.config.cloud import CloudLabel, CloudProvider
from nodepool_tx.providers.cloud.backoff import Backoff
from nodepool_tx.providers.cloud.errors import CloudError, InvalidConfiguration
from nodepool_tx.providers.cloud.interface import CloudAdapter
from nodepool_tx.providers.cloud.pacing import Calls
from nodepool_tx.resources import Amounts
from nodepool_tx.work import Tracker

__all__ = ["Offer", "Offers"]

#: Seconds until what did not answer is asked again.
FIRST_RETRY = 2.0
LONGEST_RETRY = 120.0


@attrs.frozen
class Offer:
    """What is known of one label of one pool.

    :ivar needs: what one server counts for; None if that is not known yet.
    :ivar image_there: the image that the label names itself is there; None if
        that is not known yet.
    :ivar impossible: why the cloud cannot make such a server at all.
    """

    needs: Amounts | None = None
    image_there: bool | None = None
    impossible: str | None = None


class Offers:
    """Keeps asking one cloud what it offers.

    :param interval: seconds until everything is asked again.
    """

    _log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        config: CloudProvider,
        adapter: CloudAdapter,
        calls: Calls,
        interval: float,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._clock = clock
        self._config = config
        self._adapter = adapter
        self._calls = calls
        self._interval = interval
        self._chance = chance
        self._offers: dict[tuple[str, str], Offer] = {}
        self._zones: tuple[str, ...] | None = None
        self._tracker = Tracker(clock)
        self._observers: list[Callable[[], None]] = []

    # -- answers ---------------------------------------------------------

    def of(self, pool: str, label: str) -> Offer:
        return self._offers.get((pool, label), Offer())

    def zones_of(self, pool: str) -> tuple[str | None, ...]:
        """The zones to choose from; only None where the choice is the cloud's."""
        for each in self._config.pools:
            if each.name == pool and each.zones:
                return each.zones
        return self._zones or (None,)

    def subscribe(self, observer: Callable[[], None]) -> Callable[[], None]:
        """Hear whenever answers have changed; returns its removal."""
        self._observers.append(observer)
        return lambda: self._observers.remove(observer)

    # -- asking ----------------------------------------------------------

    def start(self) -> None:
        """Begin to ask, unless that has begun."""
        if len(self._tracker):
            return
        for pool in self._config.pools:
            for label in pool.cloud_labels.values():
                self._tracker.run(f"asking about {label.name}", self._keep(pool.name, label))
        if not all(pool.zones for pool in self._config.pools):
            self._tracker.run("asking for zones", self._keep_zones())

    def stop(self) -> Deferred[None]:
        """Ask no more; fires when nothing is being asked."""
        self._tracker.cancel()
        return self._tracker.idle()

    async def _keep(self, pool: str, label: CloudLabel) -> None:
        retry = Backoff(FIRST_RETRY, LONGEST_RETRY, self._chance)
        while True:
            before = self.of(pool, label.name)
            try:
                offer = await self._ask(label)
                retry.reset()
                pause = self._interval
            except CloudError as e:
                # What was known before holds until something else is known.
                offer, pause = before, retry.next()
                self._log.warn(
                    "provider {provider}: what label {label} needs is not known: {reason}",
                    provider=self._config.name,
                    label=label.name,
                    reason=str(e),
                )
            if offer != before:
                self._offers[pool, label.name] = offer
                if offer.impossible:
                    self._log.error(
                        "provider {provider}: label {label} cannot be made: {reason}",
                        provider=self._config.name,
                        label=label.name,
                        reason=offer.impossible,
                    )
                self._changed()
            if offer.image_there is False:
                pause = min(pause, LONGEST_RETRY)
            await deferLater(self._clock, pause)

    async def _ask(self, label: CloudLabel) -> Offer:
        try:
            needs = await self._calls.call("needs", lambda: self._adapter.needs(label), paced=False)
            there = True
            if label.image is not None and not label.image.diskimage:
                there = await self._calls.call(
                    "image_ready", lambda: self._adapter.image_ready(label), paced=False
                )
        except InvalidConfiguration as e:
            return Offer(impossible=str(e) or type(e).__name__)
        return Offer(needs=dict(needs), image_there=there)

    async def _keep_zones(self) -> None:
        retry = Backoff(FIRST_RETRY, LONGEST_RETRY, self._chance)
        while True:
            try:
                zones: Sequence[str] = await self._calls.call(
                    "zones", self._adapter.zones, paced=False
                )
            except CloudError as e:
                self._log.warn(
                    "provider {provider}: its zones are not known: {reason}",
                    provider=self._config.name,
                    reason=str(e),
                )
                await deferLater(self._clock, retry.next())
                continue
            if self._zones != tuple(zones):
                self._zones = tuple(zones)
                self._changed()
            retry.reset()
            await deferLater(self._clock, self._interval)

    def _changed(self) -> None:
        for observer in tuple(self._observers):
            observer()
