"""What a configuration wants in stock, and who could make it."""

from __future__ import annotations

from collections.abc import Mapping

import attrs

from nodepool_tx.config.cloud import CloudPool
from nodepool_tx.config.schema import (
    Config,
    PoolConfig,
    ProviderConfig,
    StaticProvider,
    UnavailableProvider,
)

__all__ = ["Wanted", "desired"]


@attrs.frozen
class Wanted:
    """One label that is to be kept in stock.

    :ivar count: how many.
    :ivar images: what each provider of ours that makes it makes it from: names
        of disk images, None for one that needs none.
    """

    count: int
    images: Mapping[str, frozenset[str | None]]


def desired(config: Config) -> dict[str, Wanted]:
    """Labels with ``min-ready`` that a provider here can make nodes of.

    Static nodes are there or not: nobody can ask for more of them.
    """
    makers = [provider for provider in config.providers.values() if _makes(provider)]
    found: dict[str, Wanted] = {}
    for label in config.labels.values():
        if label.min_ready <= 0:
            continue
        images = {
            maker.name: frozenset(_image(pool, label.name) for pool in pools)
            for maker in makers
            if (pools := [pool for pool in maker.pools if _offers(pool, label.name)])
        }
        if images:
            found[label.name] = Wanted(label.min_ready, images)
    return found


def _makes(provider: ProviderConfig) -> bool:
    return not isinstance(provider, StaticProvider | UnavailableProvider)


def _offers(pool: PoolConfig, label: str) -> bool:
    return label in pool.labels and pool.max_servers > 0


def _image(pool: PoolConfig, label: str) -> str | None:
    known = pool.cloud_labels.get(label) if isinstance(pool, CloudPool) else None
    image = known.image if known is not None else None
    return image.name if image is not None and image.diskimage else None
