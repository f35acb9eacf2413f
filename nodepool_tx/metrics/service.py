"""The service that keeps the numbers."""

from __future__ import annotations

from typing import Any

from twisted.application.service import MultiService
from twisted.internet.defer import Deferred

from nodepool_tx.metrics.sender import StatsdSender
from nodepool_tx.metrics.sources import Sources
from nodepool_tx.metrics.statsd import Statsd

__all__ = ["Metrics"]


class Metrics(MultiService):
    """Counts for its children, who tell of the numbers; without any it does nothing.

    They must be there before it starts.

    :param reactor: with UDP and a resolver of names.
    :param statsd: host and port of a statsd server; None for none.
    :param interval: seconds between two reports to it.
    """

    def __init__(
        self, reactor: Any, sources: Sources, statsd: tuple[str, int] | None, interval: float
    ) -> None:
        super().__init__()
        self.setName("metrics")
        self._sources = sources
        if statsd is not None:
            sender = StatsdSender(reactor, *statsd)
            # Stopped in the other order: what is said last is sent, too.
            sender.setServiceParent(self)
            Statsd(sources, sender.send, interval).setServiceParent(self)

    def startService(self) -> None:
        if self.services:
            self._sources.counts.start()
        super().startService()

    def stopService(self) -> Deferred[Any]:
        self._sources.counts.stop()
        stopped: Deferred[Any] = super().stopService()
        return stopped
