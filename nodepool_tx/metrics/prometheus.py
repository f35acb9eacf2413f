"""The numbers for Prometheus, from the start of the launcher on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.application.service import MultiService
from twisted.internet.defer import Deferred

from nodepool_tx.metrics.exposition import MetricsResource, Offload
from nodepool_tx.metrics.lag import ReactorLag
from nodepool_tx.metrics.registry import make_registry
from nodepool_tx.metrics.sources import Sources

__all__ = ["Prometheus"]


class Prometheus(MultiService):
    """Takes note of events while it runs; the counts of ``sources`` must be kept by somebody.

    :param offload: runs a function off the reactor.
    :ivar resource: what to serve at ``/metrics``.
    """

    def __init__(self, sources: Sources, offload: Offload) -> None:
        super().__init__()
        self.setName("prometheus")
        self._events = sources.events
        registry, self._meters = make_registry(sources)
        self.resource = MetricsResource(registry, offload)
        self._unsubscribe: Callable[[], None] | None = None
        ReactorLag(sources.clock, registry).setServiceParent(self)

    def startService(self) -> None:
        self._unsubscribe = self._events.subscribe(self._meters.note)
        super().startService()

    def stopService(self) -> Deferred[Any]:
        if self._unsubscribe is not None:
            self._unsubscribe()
            self._unsubscribe = None
        stopped: Deferred[Any] = super().stopService()
        return stopped
