"""The OpenStack driver, as :class:`nodepool_tx.providers.DriverRegistry` finds it."""

from __future__ import annotations

from nodepool_tx.config.openstack import OpenStackProvider
from nodepool_tx.providers.cloud.driver import cloud_driver
from nodepool_tx.providers.cloud.interface import CloudAdapter
from nodepool_tx.providers.interface import ProviderContext
from nodepool_tx.providers.openstack.adapter import OpenStackAdapter
from nodepool_tx.providers.openstack.credentials import Credentials
from nodepool_tx.providers.openstack.hints import NetworkHints
from nodepool_tx.providers.openstack.http import HttpTransport
from nodepool_tx.providers.openstack.timing import TimedTransport

__all__ = ["DRIVER", "make_adapter"]


def make_adapter(config: OpenStackProvider, context: ProviderContext) -> CloudAdapter:
    """The adapter of a provider, over HTTP.

    :raises ValueError: the configuration does not say which cloud it is, or
        there is no network here.
    """
    if config.cloud is None:
        raise ValueError("it is not known which cloud of clouds.yaml it used")
    if context.reactor is None or context.offload is None:
        raise ValueError("OpenStack clouds need a reactor with a network and threads")
    credentials = Credentials(
        context.clock, context.offload, cloud=config.cloud, region=config.region_name
    )
    http = HttpTransport(context.reactor, credentials, context.offload)
    transport = TimedTransport(http, config.name, context.clock, context.events)

    async def hints() -> NetworkHints:
        return (await credentials.settings()).networks

    return OpenStackAdapter(config, transport, context.clock, hints)


DRIVER = cloud_driver("openstack", OpenStackProvider, make_adapter)
