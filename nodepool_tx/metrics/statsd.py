"""The statistics of Nodepool 11's operation guide, under the same names.

What happens is sent at once, how things are every few seconds.  What is about
all of ZooKeeper is sent by one launcher only: the one that is elected, among
ours and Nodepool 11's.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator
from itertools import chain
from typing import Any

from twisted.application.service import MultiService
from twisted.internet.defer import Deferred, gatherResults

from nodepool_tx.events import Event, LaunchEnded, LeakRemoved, ServiceAsked
from nodepool_tx.metrics.lines import count, gauge, normal, safe, timing
from nodepool_tx.metrics.sources import Sources, limits_of
from nodepool_tx.model import NodeState
from nodepool_tx.periodic import Periodic
from nodepool_tx.store import paths
from nodepool_tx.txzookeeper.client import ZookeeperClient
from nodepool_tx.txzookeeper.election import Election, Leadership

__all__ = ["Statsd", "lines_of"]

#: Takes lines and passes them on.
Send = Callable[..., None]

#: Seconds from which on an answer of a cloud counts as slow.
SLOW = 1.0


def lines_of(event: Event) -> Iterator[str]:
    """What is sent of something that happened."""
    if isinstance(event, LaunchEnded):
        for name in _launch_names(event):
            yield timing(name, event.seconds)
            yield count(name)
    elif isinstance(event, LeakRemoved):
        kind = f"{safe(event.kind)}s"
        yield count(f"nodepool.provider.{safe(event.provider)}.leaked.{kind}")
    elif isinstance(event, ServiceAsked):
        parts = (event.service, event.method, event.operation)
        task = ".".join(normal(part) for part in parts)
        name = f"nodepool.task.{safe(event.provider)}.{task}"
        if event.status is not None:
            yield timing(f"{name}.{event.status}", event.seconds)
            yield count(f"{name}.{event.status}")
            if event.seconds > SLOW:
                yield count(f"{name}.over_1000")
        else:
            yield count(f"{name}.failed")
        yield count(f"{name}.attempted")


def _launch_names(event: LaunchEnded) -> Iterator[str]:
    result = event.result if event.result == "ready" else f"error.{event.result}"
    provider = f"nodepool.launch.provider.{safe(event.provider)}"
    yield f"{provider}.{result}"
    yield f"nodepool.launch.{result}"
    if event.zone:
        yield f"{provider}.{safe(event.zone)}.{result}"
    if event.image:
        yield f"nodepool.launch.image.{safe(event.image)}.{result}"
    if event.requestor:
        yield f"nodepool.launch.requestor.{normal(event.requestor)}.{result}"


class Statsd(MultiService):
    """Sends everything there is to send.

    :param send: takes lines; see :meth:`nodepool_tx.metrics.sender.StatsdSender.send`.
    :param interval: seconds between two reports of how things are.
    """

    def __init__(self, sources: Sources, send: Send, interval: float) -> None:
        super().__init__()
        self.setName("statsd")
        self._sources = sources
        self._send = send
        self._election = Election(
            sources.store.client,
            f"{paths.ELECTIONS}/stats",
            f"{sources.hostname}-{os.getpid()}",
        )
        #: What was sent of all of ZooKeeper the last time.
        self._shown: frozenset[str] = frozenset()
        self._unsubscribe: Callable[[], None] | None = None
        Periodic(sources.clock, "statistics", interval, self._report).setServiceParent(self)

    def startService(self) -> None:
        super().startService()
        self._unsubscribe = self._sources.events.subscribe(self._on_event)
        self._election.volunteer(_ignore, self._on_lost)

    def stopService(self) -> Deferred[Any]:
        if self._unsubscribe is not None:
            self._unsubscribe()
            self._unsubscribe = None
        return gatherResults([super().stopService(), self._election.resign()])

    def _on_event(self, event: Event) -> None:
        self._send(*lines_of(event))

    def _on_lost(self, leadership: Leadership) -> None:
        # What is gone is the next one's to set to 0.
        self._shown = frozenset()

    async def _report(self) -> None:
        self._send(*self._own())
        leadership = self._election.leadership
        if leadership is not None and leadership.certain and self._sources.store.current:
            values = self._everybodys()
            gone = self._shown - values.keys()
            self._send(
                *(gauge(name, value) for name, value in values.items()),
                *(gauge(name, 0) for name in sorted(gone)),
            )
            self._shown = frozenset(values)

    # -- how this launcher is --------------------------------------------

    def _own(self) -> Iterator[str]:
        return chain(self._providers(), self._tenants(), self._client())

    def _providers(self) -> Iterator[str]:
        for name, service in self._sources.reloader.services().items():
            servers = [limits_of(pool).get("instances", math.inf) for pool in service.config.pools]
            # There is no number for no limit.
            if not math.isinf(sum(servers)):
                yield gauge(f"nodepool.provider.{safe(name)}.max_servers", sum(servers))

    def _tenants(self) -> Iterator[str]:
        for tenant, limits in self._sources.tenant_limits.limits.items():
            for resource, limit in limits.items():
                if not math.isinf(limit):
                    name = f"nodepool.tenant_limits.{normal(tenant)}.{normal(resource)}"
                    yield gauge(name, limit)

    def _client(self) -> Iterator[str]:
        sources = self._sources
        root = f"nodepool.launcher.{safe(sources.hostname)}.zk"
        client = sources.store.client
        queued = client.counters.in_flight if isinstance(client, ZookeeperClient) else 0
        yield gauge(f"{root}.client.connection_queue", queued)
        for cache, (reads, walk) in sources.store.lags().items():
            name = f"{root}.{cache.removesuffix('s')}_cache"
            yield gauge(f"{name}.event_queue", reads)
            yield gauge(f"{name}.playback_queue", walk)

    # -- how ZooKeeper is ------------------------------------------------

    def _everybodys(self) -> dict[str, float]:
        """Nodes by state, also those that there are none of, and requests by pool."""
        counts = self._sources.counts
        pools = self._sources.store.components.pools()
        values: dict[str, float] = {}
        roots = ["nodepool.nodes"]
        roots += (f"nodepool.provider.{safe(pool.provider_name)}.nodes" for pool in pools)
        roots += (
            f"nodepool.label.{safe(label)}.nodes"
            for pool in pools
            for label in pool.supported_labels
        )
        for root in dict.fromkeys(roots):
            values.update({f"{root}.{state.value}": 0 for state in NodeState})

        def add(name: str, number: int) -> None:
            values[name] = values.get(name, 0) + number

        for key, number in counts.pools().items():
            add(f"nodepool.nodes.{key.state}", number)
            if key.provider:
                add(f"nodepool.provider.{safe(key.provider)}.nodes.{key.state}", number)
        for each, number in counts.labels().items():
            add(f"nodepool.label.{safe(each.label)}.nodes.{each.state}", number)
        for pool in pools:
            root = f"nodepool.provider.{safe(pool.provider_name)}.pool.{safe(pool.name)}"
            # Several launchers may have the same pool, with different labels for a while.
            addressable = counts.requests_within(frozenset(pool.supported_labels))
            values[f"{root}.addressable_requests"] = addressable
        return values


def _ignore(leadership: Leadership) -> None:
    """The next report is soon enough."""
