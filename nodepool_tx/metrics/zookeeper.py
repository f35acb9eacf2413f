"""What the client of ZooKeeper counts, for Prometheus."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from prometheus_client.core import Metric

from nodepool_tx.metrics.families import counter, gauge, histogram
from nodepool_tx.store.store import Store
from nodepool_tx.txzookeeper.client import ZookeeperClient
from nodepool_tx.txzookeeper.counters import LATENCY_BOUNDS, Counters
from nodepool_tx.txzookeeper.interface import SessionState

__all__ = ["ZookeeperCollector"]

#: Name, attribute of the counters and text of each counter.
_COUNTERS = (
    ("requests", "requests", "Requests sent to ZooKeeper, without keep-alives."),
    ("errors", "errors", "Answers of ZooKeeper that said no."),
    ("lost_requests", "lost", "Requests left without an answer by a broken connection."),
    ("events", "events", "Events received from watches."),
    ("pings", "pings", "Keep-alives sent."),
    ("sessions", "sessions", "Sessions established."),
    ("reconnects", "reconnects", "Connections that took a session up again."),
    ("failed_connections", "failed_attempts", "Attempts to connect that led to no session."),
    ("sent_bytes", "bytes_sent", "Bytes sent, without what encryption adds."),
    ("received_bytes", "bytes_received", "Bytes received, without what encryption adds."),
)


class ZookeeperCollector:
    """The client's counters; see :class:`prometheus_client.registry.Collector`."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def describe(self) -> Iterable[Metric]:
        """Nothing is known before it is asked for; there is no such name elsewhere."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """Every family, with the values of this moment."""
        client = self._store.client
        yield gauge(
            "nodepool_zookeeper_state",
            "The state of the session: 1 for the one it is in.",
            ["state"],
            {(state.value,): state is client.state for state in SessionState},
        )
        lags = self._store.lags()
        yield gauge(
            "nodepool_zookeeper_cache_lag",
            "Znodes that are known to have changed and are being read again, by what they hold.",
            ["cache"],
            {(name,): reads + walk for name, (reads, walk) in lags.items()},
        )
        # A client in memory, as tests have it, sends nothing and so counts nothing.
        counters = client.counters if isinstance(client, ZookeeperClient) else Counters()
        yield histogram(
            "nodepool_zookeeper_request_seconds",
            "From a request to its answer.",
            LATENCY_BOUNDS,
            counters.latency_counts,
            counters.latency_sum,
        )
        for name, attribute, text in _COUNTERS:
            yield counter(f"nodepool_zookeeper_{name}", text, getattr(counters, attribute))
        yield gauge(
            "nodepool_zookeeper_outstanding_requests",
            "Requests that wait for their answer.",
            values={(): counters.in_flight},
        )
        yield gauge("nodepool_zookeeper_watches", "Watches kept.", values={(): counters.watches})
