"""A launcher in memory with a static and a simulated cloud provider, and its numbers."""

from __future__ import annotations

from typing import Any

from prometheus_client.exposition import generate_latest
from prometheus_client.parser import text_string_to_metric_families
from twisted.application.service import Service
from twisted.internet.defer import Deferred

from nodepool_tx.config.schema import Config
from nodepool_tx.events import (
    CloudCalled,
    Event,
    Events,
    HostChanged,
    LaunchEnded,
    LeakRemoved,
    NodeDeleted,
    ReloadRefused,
    RequestEnded,
    ServiceAsked,
)
from nodepool_tx.launcher import Launcher
from nodepool_tx.metrics.exposition import read
from nodepool_tx.metrics.lag import ReactorLag
from nodepool_tx.metrics.registry import make_registry
from nodepool_tx.metrics.sources import Sources
from nodepool_tx.pools.registry import PoolRegistry
from nodepool_tx.pools.tenants import TenantLimits
from nodepool_tx.providers.drains import DrainLedger
from nodepool_tx.providers.fake.driver import SimulatedClouds, fake_driver
from nodepool_tx.providers.interface import Intervals, ProviderContext, ProviderService
from nodepool_tx.providers.ownership import Ownerships
from nodepool_tx.providers.static.driver import DRIVER as STATIC
from nodepool_tx.providers.tree import ProviderTree
from nodepool_tx.reload import Reloader
from nodepool_tx.testing.scanner import MemoryHosts, MemoryScanner
from tests.config.parsing import parse
from tests.pools.harness import ZookeeperTestCase

__all__ = ["CONFIG", "EVENTS", "EverythingTestCase", "FarmTestCase", "Samples"]

CONFIG = """
labels: [{name: static-1.0}, {name: cloudy}]
tenant-resource-limits:
  - tenant-name: the.tenant
    max-servers: 10
    max-cores: 40
providers:
  - name: rack
    driver: static
    pools:
      - name: main
        nodes:
          - {name: web1, labels: static-1.0, username: zuul, max-parallel-jobs: 2}
          - {name: web2, labels: static-1.0, username: zuul}
  - name: cloud
    driver: fake
    rate: 0
    cloud-images: [{name: precise, image-name: Fake Precise, username: zuul}]
    simulation: {boot-delay: 1, seed: 1}
    pools:
      - name: small
        max-servers: 5
        max-cores: 20
        availability-zones: [az1]
        labels:
          - {name: cloudy, cloud-image: precise, min-ram: 8192}
"""


class Samples:
    """What Prometheus would see."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.families = {family.name: family for family in text_string_to_metric_families(text)}
        self._values = {
            (sample.name, frozenset(sample.labels.items())): sample.value
            for family in self.families.values()
            for sample in family.samples
        }

    def get(self, name: str, **labels: str) -> float | None:
        """The sample with exactly these labels."""
        return self._values.get((name, frozenset(labels.items())))

    def labels_of(self, name: str) -> frozenset[str]:
        """Which labels samples of a name have."""
        found = [labels for each, labels in self._values if each == name]
        return frozenset(label for labels in found for label, _ in labels)

    def names(self) -> set[str]:
        return {name for name, _ in self._values}


class FarmTestCase(ZookeeperTestCase):
    """Everything that is measured; :meth:`bring` a configuration into force first."""

    def setUp(self) -> None:
        super().setUp()
        self.hosts = MemoryHosts()
        for name in ("web1", "web2"):
            self.hosts.add(name)
        self.client = self.connected()
        self.store = self.make_store(self.client)
        self.registry = PoolRegistry(self.store, "host.example", "1.0")
        self.ownerships = Ownerships(self.client, "host.example")
        self.limits = TenantLimits()
        self.events = Events()
        context = ProviderContext(
            clock=self.clock,
            store=self.store,
            scanner=MemoryScanner(self.clock, self.hosts),
            registry=self.registry,
            ownerships=self.ownerships,
            tenant_limits=self.limits,
            intervals=Intervals(cleanup=60.0),
            events=self.events,
        )
        drivers = {"static": STATIC, "fake": fake_driver(SimulatedClouds())}

        def build(provider: Any) -> ProviderService:
            return drivers[provider.driver].build(provider, context)

        self.providers = ProviderTree()
        self.providers.startService()
        self.reloader = Reloader(
            self.clock,
            self.providers,
            build,
            self.registry,
            self.ownerships,
            self.limits,
            DrainLedger(self.client),
            self.events,
        )
        nobody: Any = Service()
        self.process = Launcher(self.reloader, self.store, nobody, Config(), events=self.events)
        self.sources = Sources(
            clock=self.clock,
            events=self.events,
            store=self.store,
            reloader=self.reloader,
            launcher=self.process,
            tenant_limits=self.limits,
            hostname="host.example",
            version="1.0",
        )
        self.addCleanup(self.stop)

    def stop(self) -> None:
        """Leave nothing behind."""

        async def stop() -> None:
            await self.reloader.stop()
            await self.providers.stopService()
            await self.registry.keep_only(set())
            await self.ownerships.keep_only(set())
            await self.store.stopService()

        stopped = Deferred.fromCoroutine(stop())
        self.wait(10)
        self.successResultOf(stopped)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def bring(self, config: str = CONFIG) -> None:
        """Bring a configuration into force, and wait until all is up."""
        self.reloader.apply(parse(config))
        self.wait(5)

    def wait(self, seconds: float, step: float = 0.5) -> None:
        """Let time pass."""
        end = self.clock.seconds() + seconds
        while self.clock.seconds() < end - 1e-6:
            self.clock.advance(min(step, end - self.clock.seconds()))
            self.settle()

    def measure(self) -> None:
        """Begin to count for Prometheus."""
        self.prometheus, self.meters = make_registry(self.sources)
        self.sources.counts.start()
        self.addCleanup(self.sources.counts.stop)
        self.addCleanup(self.events.subscribe(self.meters.note))

    def scrape(self) -> Samples:
        """What Prometheus would get now."""
        return Samples(generate_latest(read(self.prometheus)).decode())  # type: ignore[arg-type]

    def exercise(self) -> None:
        """Have everything happen once: requests, launches, deletions, trouble, reloads."""
        for labels in (["static-1.0"], ["cloudy"], ["nothing-like-it"]):
            self.add_request(*labels, tenant_name="the.tenant", requestor="zuul:check.gate")
        self.wait(30)


#: One event of each kind.
EVENTS: tuple[Event, ...] = (
    CloudCalled(provider="cloud", call="create", result="ok", seconds=1.0),
    HostChanged(provider="rack", hostname="web1", up=True),
    LaunchEnded(
        provider="cloud",
        pool="small",
        label="cloudy",
        node_id="1",
        result="quota",
        seconds=1.0,
        zone="az1",
        requestor="zuul",
        image="precise",
    ),
    LeakRemoved(provider="cloud", kind="port"),
    NodeDeleted(provider="cloud", node_id="1", seconds=1.0),
    ReloadRefused(errors=("no",)),
    RequestEnded(
        request_id="1", provider="rack", pool="main", labels=("a",), result="fulfilled", seconds=1.0
    ),
    ServiceAsked(
        provider="cloud",
        service="compute",
        method="GET",
        operation="servers",
        status=None,
        seconds=1.0,
    ),
)


class EverythingTestCase(FarmTestCase):
    """Every number there is has been told of.

    :ivar seen: what Prometheus gets.
    """

    def setUp(self) -> None:
        super().setUp()
        self.measure()
        lag = ReactorLag(self.clock, self.prometheus)
        lag.startService()
        self.addCleanup(lag.stopService)
        self.bring()
        self.exercise()
        for event in EVENTS:
            self.events.publish(event)
        self.wait(61)
        self.seen = self.scrape()
