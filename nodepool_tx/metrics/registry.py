"""Everything that Prometheus is told, in a registry of our own."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector

from nodepool_tx.metrics.farm import FarmCollector
from nodepool_tx.metrics.meters import Meters
from nodepool_tx.metrics.sources import Sources
from nodepool_tx.metrics.zookeeper import ZookeeperCollector

__all__ = ["make_registry"]


def make_registry(sources: Sources) -> tuple[CollectorRegistry, Meters]:
    """The registry, and what is to be told of events."""
    registry = CollectorRegistry()
    meters = Meters(registry, sources.clock)
    registry.register(FarmCollector(sources))
    registry.register(ZookeeperCollector(sources.store))
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    GCCollector(registry=registry)
    return registry, meters
