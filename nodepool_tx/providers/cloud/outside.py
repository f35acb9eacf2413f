"""A look at a provider's cloud from outside its launcher, as the command line takes it."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred

from nodepool_tx import __version__
from nodepool_tx.config.schema import ProviderConfig
from nodepool_tx.nodescan.scanner import ReactorScanner
from nodepool_tx.pools.registry import PoolRegistry
from nodepool_tx.pools.tenants import TenantLimits
from nodepool_tx.providers import DriverRegistry
from nodepool_tx.providers.cloud.interface import CloudAdapter
from nodepool_tx.providers.interface import Intervals, ProviderContext
from nodepool_tx.providers.ownership import Ownerships
from nodepool_tx.store.store import Store

__all__ = ["adapter_of"]


def adapter_of(
    config: ProviderConfig,
    store: Store,
    reactor: Any,
    offload: Callable[[Callable[[], Any]], Deferred[Any]],
    drivers: DriverRegistry | None = None,
) -> CloudAdapter | None:
    """What talks to the cloud of a provider; to be started and stopped by the caller.

    None where there is no cloud, or it is within the launcher.  Nothing is
    registered and no lock is asked for.

    :raises DriverError: there is no such driver.
    :raises ValueError: the configuration does not say which account it is.
    """
    description = (drivers or DriverRegistry()).find(config.driver)
    if description.adapter is None:
        return None
    host = socket.gethostname()
    context = ProviderContext(
        clock=reactor,
        store=store,
        scanner=ReactorScanner(reactor),
        registry=PoolRegistry(store, host, __version__),
        ownerships=Ownerships(store.client, host),
        tenant_limits=TenantLimits(),
        intervals=Intervals(),
        reactor=reactor,
        offload=offload,
    )
    adapter: CloudAdapter = description.adapter(config, context)
    return adapter
