"""How late the reactor is, and how much it has still to call."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Gauge, Histogram
from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime

__all__ = ["INTERVAL", "ReactorLag"]

#: Seconds from one look to the next.
INTERVAL = 0.5

BOUNDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5)


class ReactorLag(Service):
    """Has itself called at regular times, and measures how late that is.

    A turn of the reactor that takes long, for whatever reason, makes everybody
    wait; here it can be seen.
    """

    def __init__(self, clock: IReactorTime, registry: CollectorRegistry) -> None:
        self.setName("reactor-lag")
        self._clock = clock
        self._call: IDelayedCall | None = None
        self._due = 0.0
        self._histogram = Histogram(
            "nodepool_reactor_lag_seconds",
            "How late timed calls were: the longest turn of the reactor that was in their way.",
            buckets=BOUNDS,
            registry=registry,
        )
        Gauge(
            "nodepool_reactor_delayed_calls",
            "Calls that the reactor is to make at some later time.",
            registry=registry,
        ).set_function(lambda: len(clock.getDelayedCalls()))

    def startService(self) -> None:
        super().startService()
        self._next()

    def stopService(self) -> Deferred[None] | None:
        if self._call is not None:
            self._call.cancel()
            self._call = None
        super().stopService()
        return None

    def _next(self) -> None:
        self._due = self._clock.seconds() + INTERVAL
        self._call = self._clock.callLater(INTERVAL, self._look)

    def _look(self) -> None:
        # The wall clock may have been set back.
        self._histogram.observe(max(0.0, self._clock.seconds() - self._due))
        self._next()
