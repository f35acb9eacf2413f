"""One launcher in memory, put together as :mod:`nodepool_tx.tap` does it, without HTTP."""

from __future__ import annotations

from random import Random
from typing import Any, cast

from twisted.internet.defer import Deferred

from benchmarks.day_world import Hosts
from nodepool_tx.config.cloud import CloudProvider
from nodepool_tx.config.schema import Config, ProviderConfig, StaticProvider
from nodepool_tx.events import Events
from nodepool_tx.history import History
from nodepool_tx.janitor import Janitor
from nodepool_tx.launcher import Launcher, Presence
from nodepool_tx.maintenance import MaintenanceEnds
from nodepool_tx.metrics.exposition import read
from nodepool_tx.metrics.registry import make_registry
from nodepool_tx.metrics.service import Metrics
from nodepool_tx.metrics.sources import Sources
from nodepool_tx.minready.service import MinReady
from nodepool_tx.nodescan.interface import Address, AddressFamily
from nodepool_tx.pools.registry import PoolRegistry
from nodepool_tx.pools.tenants import TenantLimits
from nodepool_tx.providers.cloud.memory_cloud import MemoryCloud
from nodepool_tx.providers.cloud.service import CloudProviderService
from nodepool_tx.providers.drains import DrainLedger
from nodepool_tx.providers.interface import Intervals, ProviderContext
from nodepool_tx.providers.ownership import Ownerships
from nodepool_tx.providers.static.service import StaticProviderService
from nodepool_tx.providers.tree import ProviderTree
from nodepool_tx.reload import Reloader
from nodepool_tx.root import OrderedService
from nodepool_tx.store.store import Store
from nodepool_tx.testing.zookeeper import MemoryZookeeper
from proof.soak.simulated.clock import LauncherClock, SoakClock
from tests.property.farm import MortalAdapter, SessionService

__all__ = ["SimulatedLauncher"]


class _Machines(Hosts):
    """Every name is known, too."""

    def resolve(self, host: str, port: int) -> Deferred[Address]:
        return self._later(Address(AddressFamily.IPV4, host, port))


class SimulatedLauncher:
    """One life of a launcher; it runs as soon as it is made.

    :ivar history: what it remembers for people, which grows for a day.
    """

    def __init__(
        self,
        clock: SoakClock,
        zookeeper: MemoryZookeeper,
        clouds: dict[str, MemoryCloud],
        host: str,
        config: Config,
        random: Random,
    ) -> None:
        self.host = host
        self._clouds = clouds
        self._random = random
        self.clock = LauncherClock(cast(Any, clock))
        time = cast(Any, self.clock)
        self.client = zookeeper.client()
        self.store = Store(self.client, time)
        registry = PoolRegistry(self.store, host, "1.0")
        ownerships = Ownerships(self.client, host)
        limits = TenantLimits()
        events = Events()
        self.context = ProviderContext(
            clock=time,
            store=self.store,
            scanner=_Machines(time),
            registry=registry,
            ownerships=ownerships,
            tenant_limits=limits,
            intervals=Intervals(),
            events=events,
        )
        providers = ProviderTree()
        ledger = DrainLedger(self.client)
        self.reloader = Reloader(
            time, providers, self._build, registry, ownerships, limits, ledger, events
        )

        def in_force() -> Config:
            return self.reloader.config or config

        min_ready = MinReady(time, self.store, in_force, host, interval=60.0, random=random.random)
        self.launcher = Launcher(self.reloader, self.store, cast(Any, None), config, (), events)
        self.launcher.when_applied(min_ready.reconfigure)
        self.history = History(time, events, Random(random.random()))
        sources = Sources(
            clock=time,
            events=events,
            store=self.store,
            reloader=self.reloader,
            launcher=self.launcher,
            tenant_limits=limits,
            hostname=host,
            version="1.0",
        )
        self._registry, meters = make_registry(sources)
        events.subscribe(meters.note)
        metrics = Metrics(time, sources, None, 5.0)
        sources.counts.start()
        self._stop_counting = sources.counts.stop
        self.root = OrderedService(time, 60.0)
        for child in (
            SessionService(self.client),
            self.store,
            Presence(self.store, registry, ownerships, host, "1.0"),
            metrics,
            providers,
            self.launcher,
            Janitor(
                time,
                self.store,
                in_force,
                self.reloader.services,
                interval=60.0,
                lock_age=self.context.intervals.lock_cleanup,
            ),
            MaintenanceEnds(self.store),
            min_ready,
        ):
            child.setServiceParent(self.root)
        self.root.startService()

    def _build(self, config: ProviderConfig) -> Any:
        if isinstance(config, StaticProvider):
            return StaticProviderService(config, self.context)
        if not isinstance(config, CloudProvider):
            raise TypeError(f"{config.name} is of no driver that is simulated")
        adapter = MortalAdapter(self._clouds[config.name], self.clock)
        return CloudProviderService(
            config, self.context, adapter, random=Random(self._random.random())
        )

    def scrape(self) -> int:
        """Read all numbers, as Prometheus does; how many families there are."""
        return len(read(self._registry).families)

    def stop(self) -> Deferred[None]:
        """Stop it in order."""
        self._stop_counting()
        return self.root.stopService()
