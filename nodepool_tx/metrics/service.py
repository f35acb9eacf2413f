"""The service that keeps the numbers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.application.service import MultiService
from twisted.internet.defer import Deferred

from nodepool_tx.metrics.exposition import MetricsResource, Offload
from nodepool_tx.metrics.lag import ReactorLag
from nodepool_tx.metrics.registry import make_registry
from nodepool_tx.metrics.sender import StatsdSender
from nodepool_tx.metrics.sources import Sources
from nodepool_tx.metrics.statsd import Statsd

__all__ = ["Metrics"]


class Metrics(MultiService):
    """Counts from its start on.

    :param reactor: with UDP and a resolver of names.
    :param statsd: host and port of a statsd server; None for none.
    :param interval: seconds between two reports to it.
    :param offload: runs a function off the reactor.
    :ivar resource: what to serve at ``/metrics``.
    """

    def __init__(
        self,
        reactor: Any,
        sources: Sources,
        statsd: tuple[str, int] | None,
        interval: float,
        offload: Offload,
    ) -> None:
        super().__init__()
        self.setName("metrics")
        self._sources = sources
        self.registry, self._meters = make_registry(sources)
        self.resource = MetricsResource(self.registry, offload)
        self._unsubscribe: Callable[[], None] | None = None
        ReactorLag(sources.clock, self.registry).setServiceParent(self)
        if statsd is not None:
            sender = StatsdSender(reactor, *statsd)
            # Stopped in the other order: what is said last is sent, too.
            sender.setServiceParent(self)
            Statsd(sources, sender.send, interval).setServiceParent(self)

    def startService(self) -> None:
        self._sources.counts.start()
        self._unsubscribe = self._sources.events.subscribe(self._meters.note)
        super().startService()

    def stopService(self) -> Deferred[Any]:
        if self._unsubscribe is not None:
            self._unsubscribe()
            self._unsubscribe = None
        self._sources.counts.stop()
        stopped: Deferred[Any] = super().stopService()
        return stopped
