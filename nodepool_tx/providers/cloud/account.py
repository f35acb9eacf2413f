"""Everything that the pieces of one cloud provider share."""

from __future__ import annotations

import random
from collections.abc import Callable
from random import Random

import attrs
from twisted.internet.interfaces import IReactorTime

from nodepool_tx.config.cloud import CloudLabel, CloudPool, CloudProvider
from nodepool_tx.events import Events
from nodepool_tx.nodescan.interface import Scanner
from nodepool_tx.providers.cloud.breaker import Breakers
from nodepool_tx.providers.cloud.deletion import Deletions
from nodepool_tx.providers.cloud.images import has_image
from nodepool_tx.providers.cloud.interface import CloudAdapter
from nodepool_tx.providers.cloud.offers import Offers
from nodepool_tx.providers.cloud.pacing import Calls
from nodepool_tx.providers.cloud.polling import Poller
from nodepool_tx.providers.cloud.quota import ProviderQuota
from nodepool_tx.store.store import Store

__all__ = ["Account"]


@attrs.frozen(eq=False, kw_only=True)
class Account:
    """One provider's cloud and what we know of it.

    :ivar identifier: what others see of who holds the lock of a node of a pool.
    :ivar events: where what happened is told.
    :ivar random: where jitter and choices come from.
    """

    config: CloudProvider
    clock: IReactorTime
    store: Store
    scanner: Scanner
    adapter: CloudAdapter
    calls: Calls
    poller: Poller
    breakers: Breakers
    deletions: Deletions
    offers: Offers
    quota: ProviderQuota
    identifier: Callable[[str | None], str]
    events: Events
    random: Random = attrs.field(factory=random.Random)

    @property
    def name(self) -> str:
        return self.config.name

    def pool(self, name: str | None) -> CloudPool | None:
        for pool in self.config.pools:
            if pool.name == name:
                return pool
        return None

    def label(self, pool: str | None, name: str) -> CloudLabel | None:
        """What is configured of a label in a pool."""
        found = self.pool(pool)
        return None if found is None else found.cloud_labels.get(name)

    def impossible(self, pool: str, label: CloudLabel) -> str | None:
        """Why the cloud cannot have servers of a label, as far as is known."""
        offer = self.offers.of(pool, label.name)
        if offer.impossible is not None:
            return offer.impossible
        if offer.image_there is False or not has_image(label, self.store.images, self.name):
            return f"the image {label.image.name if label.image else ''} is not there"
        return None
