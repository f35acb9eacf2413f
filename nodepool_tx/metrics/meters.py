"""What is counted for Prometheus as it happens."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from twisted.internet.interfaces import IReactorTime

from nodepool_tx.events import (
    CloudCalled,
    Event,
    HostChanged,
    LaunchEnded,
    LeakRemoved,
    NodeDeleted,
    ReloadEnded,
    ReloadRefused,
    RequestEnded,
    ServiceAsked,
)

__all__ = ["Meters"]

#: Upper bounds in seconds: from a node out of stock to one that took an hour.
FULFIL = (0.01, 0.1, 0.5, 1, 5, 15, 30, 60, 120, 300, 600, 1800, 3600, 7200)
LAUNCH = (1, 5, 10, 20, 30, 45, 60, 90, 120, 180, 300, 600, 1200, 3600)
DELETION = (1, 5, 10, 20, 30, 60, 120, 300, 600, 1800, 3600)
CALL = (0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
RELOAD = (0.01, 0.05, 0.1, 0.5, 1, 5, 10, 30, 60, 300)


class Meters:
    """Counters and histograms that grow with events, and nothing else."""

    def __init__(self, registry: CollectorRegistry, clock: IReactorTime) -> None:
        self._clock = clock
        self._requests = Counter(
            "nodepool_requests_ended",
            "Answers of this launcher's pools to requests: fulfilled, failed as everyone has "
            "declined, or declined by this pool alone.",
            ["provider", "pool", "result"],
            registry=registry,
        )
        self._fulfilled = Histogram(
            "nodepool_request_fulfil_seconds",
            "From the making of a request to its being fulfilled by a pool of this launcher.",
            ["provider", "pool"],
            buckets=FULFIL,
            registry=registry,
        )
        self._launches = Counter(
            "nodepool_launches",
            "Attempts to make a node that have ended, by result: ready, or what went wrong.",
            ["provider", "pool", "result"],
            registry=registry,
        )
        self._launch_seconds = Histogram(
            "nodepool_launch_seconds",
            "How long attempts to make a node took, by result.",
            ["provider", "result"],
            buckets=LAUNCH,
            registry=registry,
        )
        self._deletions = Histogram(
            "nodepool_deletion_seconds",
            "From asking for the deletion of a server to its being gone.",
            ["provider"],
            buckets=DELETION,
            registry=registry,
        )
        self._leaks = Counter(
            "nodepool_leaks_removed",
            "Things that were left over in a cloud and were removed, by kind.",
            ["provider", "kind"],
            registry=registry,
        )
        self._calls = Counter(
            "nodepool_cloud_calls",
            "Calls of clouds by what was to be done and how it ended: ok, or the kind of error.",
            ["provider", "call", "result"],
            registry=registry,
        )
        self._call_seconds = Histogram(
            "nodepool_cloud_call_seconds",
            "How long calls of clouds took, without the wait for a turn.",
            ["provider", "call"],
            buckets=CALL,
            registry=registry,
        )
        self._services = Counter(
            "nodepool_cloud_http_requests",
            "HTTP requests to the services of clouds by status; none where there was no answer.",
            ["provider", "service", "method", "operation", "status"],
            registry=registry,
        )
        self._hosts = Counter(
            "nodepool_static_host_changes",
            "How often static hosts were found up or down that were not before.",
            ["provider", "health"],
            registry=registry,
        )
        self._reloads = Counter(
            "nodepool_reloads",
            "Configurations by what became of them: applied in full, applied in part, refused.",
            ["result"],
            registry=registry,
        )
        for result in ("full", "part", "refused"):
            self._reloads.labels(result)
        self._reload_seconds = Histogram(
            "nodepool_reload_seconds",
            "How long it took to bring a configuration into force.",
            buckets=RELOAD,
            registry=registry,
        )
        self._last_reload = Gauge(
            "nodepool_reload_last_success_timestamp_seconds",
            "When a configuration was last applied in full (seconds since the epoch).",
            registry=registry,
        )

    def note(self, event: Event) -> None:
        """Count an event."""
        if isinstance(event, CloudCalled):
            self._calls.labels(event.provider, event.call, event.result).inc()
            self._call_seconds.labels(event.provider, event.call).observe(event.seconds)
        elif isinstance(event, ServiceAsked):
            status = "none" if event.status is None else str(event.status)
            self._services.labels(
                event.provider, event.service, event.method, event.operation, status
            ).inc()
        elif isinstance(event, RequestEnded):
            self._requests.labels(event.provider, event.pool, event.result).inc()
            if event.result == "fulfilled":
                self._fulfilled.labels(event.provider, event.pool).observe(event.seconds)
        elif isinstance(event, LaunchEnded):
            self._launches.labels(event.provider, event.pool, event.result).inc()
            self._launch_seconds.labels(event.provider, event.result).observe(event.seconds)
        elif isinstance(event, NodeDeleted):
            self._deletions.labels(event.provider).observe(event.seconds)
        elif isinstance(event, LeakRemoved):
            self._leaks.labels(event.provider, event.kind).inc()
        elif isinstance(event, HostChanged):
            self._hosts.labels(event.provider, "up" if event.up else "down").inc()
        elif isinstance(event, ReloadEnded):
            self._reloads.labels("part" if event.rolled_back else "full").inc()
            self._reload_seconds.observe(event.seconds)
            if not event.rolled_back:
                self._last_reload.set(self._clock.seconds())
        elif isinstance(event, ReloadRefused):
            self._reloads.labels("refused").inc()
