"""The metastatic driver, as :class:`nodepool_tx.providers.DriverRegistry` finds it."""

from __future__ import annotations

from weakref import WeakValueDictionary

from nodepool_tx.config.metastatic import MetastaticProvider
from nodepool_tx.providers.cloud.driver import cloud_driver
from nodepool_tx.providers.cloud.interface import CloudAdapter
from nodepool_tx.providers.interface import ProviderContext
from nodepool_tx.providers.metastatic.adapter import MetastaticAdapter
from nodepool_tx.providers.metastatic.cloud import MetastaticCloud
from nodepool_tx.store.store import Store

__all__ = ["DRIVER", "MetastaticClouds"]


class MetastaticClouds:
    """The clouds of a process: one for each provider of each launcher in it."""

    def __init__(self) -> None:
        self._clouds: WeakValueDictionary[tuple[Store, str], MetastaticCloud] = (
            WeakValueDictionary()
        )

    def adapter(self, config: MetastaticProvider, context: ProviderContext) -> CloudAdapter:
        """An adapter for a provider; all of one provider work on the same table."""
        key = (context.store, config.name)
        cloud = self._clouds.get(key)
        if cloud is None:
            cloud = self._clouds[key] = MetastaticCloud(context, config.name)
        return MetastaticAdapter(config, cloud)


# Nodepool 11 keeps its slots in its memory: the nodes it carves are not in our table.
DRIVER = cloud_driver("metastatic", MetastaticProvider, MetastaticClouds().adapter, shared=False)
