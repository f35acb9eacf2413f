"""The fake driver, as :class:`nodepool_tx.providers.DriverRegistry` finds it.

A provider's cloud lives as long as the process: a reload gives the provider a
new service over the same cloud, and a restart an empty cloud.
"""

from __future__ import annotations

from collections.abc import Callable
from weakref import WeakKeyDictionary

from twisted.logger import Logger

from nodepool_tx.config.fake import FakeProvider
from nodepool_tx.nodescan.interface import Scanner
from nodepool_tx.nodescan.simulated import SimulatedHosts
from nodepool_tx.providers.cloud.driver import cloud_driver
from nodepool_tx.providers.cloud.interface import CloudAdapter
from nodepool_tx.providers.fake.cloud import SimulatedOpenStack
from nodepool_tx.providers.fake.networks import SIMULATED_ADDRESSES
from nodepool_tx.providers.fake.transport import SimulatedTransport
from nodepool_tx.providers.interface import ProviderContext, ProviderDescription
from nodepool_tx.providers.openstack.adapter import OpenStackAdapter
from nodepool_tx.providers.openstack.timing import TimedTransport
from nodepool_tx.store.store import Store

__all__ = ["DRIVER", "SimulatedClouds", "fake_driver"]

#: Finds the cloud of a provider.
Clouds = Callable[[FakeProvider, ProviderContext], SimulatedOpenStack]

#: Seconds between two listings: at most, and at least.
SLOWEST, FASTEST = 1.0, 0.05


class SimulatedClouds:
    """The clouds of a process: one for each provider of each launcher in it."""

    _log = Logger()

    def __init__(self) -> None:
        self._clouds: WeakKeyDictionary[Store, dict[str, SimulatedOpenStack]] = WeakKeyDictionary()

    def __call__(self, config: FakeProvider, context: ProviderContext) -> SimulatedOpenStack:
        """The cloud of a provider; made when it is first asked for."""
        clouds = self._clouds.setdefault(context.store, {})
        cloud = clouds.get(config.name)
        if cloud is None:
            self._log.warn(
                "provider {provider} is simulated: its servers exist in this process only, and "
                "are never contacted",
                provider=config.name,
            )
            cloud = clouds[config.name] = SimulatedOpenStack(context.clock, config.simulation)
        return cloud


def furnish(cloud: SimulatedOpenStack, config: FakeProvider) -> None:
    """Let a cloud behave as configured, and have what the configuration takes for granted.

    Networks, key pairs and security groups have to be made in a cloud before
    they can be used; here it is enough to name them.  Images of builders are
    uploaded by other processes, and are taken as they are.
    """
    cloud.configure(config.simulation)
    cloud.images.adopt = True
    for pool in config.pools:
        labels = pool.cloud_labels.values()
        cloud.accept(
            networks=[*pool.networks, *(name for label in labels for name in label.networks)],
            keys=[label.key_name for label in labels if label.key_name],
            security_groups=pool.security_groups,
        )


def fake_driver(clouds: Clouds) -> ProviderDescription:
    """The driver over clouds that are kept elsewhere."""

    def make_adapter(config: FakeProvider, context: ProviderContext) -> CloudAdapter:
        cloud = clouds(config, context)
        furnish(cloud, config)
        simulated = SimulatedTransport(cloud, config.cloud, config.region_name)
        transport = TimedTransport(simulated, config.name, context.clock, context.events)
        adapter = OpenStackAdapter(config, transport, context.clock)
        # Half a boot: a real one takes so long that nobody would notice.
        adapter.poll_interval = min(SLOWEST, max(FASTEST, config.simulation.boot_delay / 2))
        return adapter

    def make_scanner(config: FakeProvider, context: ProviderContext) -> Scanner:
        return SimulatedHosts(context.scanner, SIMULATED_ADDRESSES)

    # Nodepool 11's does not apply the rate either, and by default it is one call a second.
    return cloud_driver("fake", FakeProvider, make_adapter, make_scanner, paced=False, shared=False)


DRIVER = fake_driver(SimulatedClouds())
