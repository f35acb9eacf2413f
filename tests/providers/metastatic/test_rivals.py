"""Two launchers that give out slots of one table at the same time."""

from __future__ import annotations

import contextlib
import math
from collections import Counter

import hypothesis.strategies as st
from hypothesis import HealthCheck, given, settings
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from nodepool_tx.nodescan.interface import Scanner
from nodepool_tx.pools.registry import PoolRegistry
from nodepool_tx.pools.tenants import TenantLimits
from nodepool_tx.providers.cloud.errors import CloudError, Gone
from nodepool_tx.providers.cloud.interface import CloudAdapter, Order
from nodepool_tx.providers.interface import Intervals, ProviderContext
from nodepool_tx.providers.metastatic.backing import Backing, decode, table_path
from nodepool_tx.providers.metastatic.driver import MetastaticClouds
from nodepool_tx.providers.ownership import Ownerships
from nodepool_tx.store import paths
from nodepool_tx.store.store import Store
from nodepool_tx.testing.scanner import MemoryHosts, MemoryScanner
from nodepool_tx.testing.zookeeper import MemoryZookeeper
from tests.providers.metastatic.stage import meta_label, meta_provider

SLOTS = 3
LABEL = meta_label(max_parallel_jobs=SLOTS, grace_time=3600)
POOL = meta_provider(LABEL).pools[0]


class Rivals:
    """Two processes, whose requests to ZooKeeper take their time."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.zookeeper = MemoryZookeeper(self.clock, latency=0.02)
        self.inspector = self.zookeeper.inspector
        self.clients = [self.zookeeper.client() for _ in range(2)]
        self.stores = [Store(client, self.clock) for client in self.clients]
        self.ownerships = [Ownerships(client, "host") for client in self.clients]
        self.adapters: list[CloudAdapter] = []
        scanner: Scanner = MemoryScanner(self.clock, MemoryHosts())
        for client, store, ownerships in zip(
            self.clients, self.stores, self.ownerships, strict=True
        ):
            context = ProviderContext(
                clock=self.clock,
                store=store,
                scanner=scanner,
                registry=PoolRegistry(store, "host", "test"),
                ownerships=ownerships,
                tenant_limits=TenantLimits(),
                intervals=Intervals(),
            )
            self.adapters.append(MetastaticClouds().adapter(meta_provider(LABEL), context))
            store.startService()
            client.connect()
        self.inspector.settle(self.clock)
        for adapter in self.adapters:
            adapter.start()
        self.inspector.settle(self.clock)
        self.taken: set[str] = set()

    def create(self, which: int, node_id: str) -> Deferred[None]:
        order = Order(node_id=node_id, name="", pool=POOL, label=LABEL, metadata={})
        made = Deferred.fromCoroutine(self.adapters[which].create(order))
        return made.addCallback(self.taken.add)

    def delete(self, which: int, node_id: str) -> Deferred[None]:
        async def delete() -> None:
            with contextlib.suppress(Gone):
                await self.adapters[which].delete(node_id)
            self.taken.discard(node_id)

        return Deferred.fromCoroutine(delete())

    def table(self) -> list[Backing]:
        below = self.inspector.dump(table_path("meta") + "/")
        return [decode(path, data, 0) for path, data in below.items()]

    def check(self) -> None:
        """Every node has the one slot that it was given, and no other has one."""
        held = Counter(slot.node_id for each in self.table() for _, slot in each.held())
        assert set(held.values()) <= {1}, held
        assert set(held) == self.taken

    def stop(self) -> None:
        for adapter, store, ownerships, client in zip(
            self.adapters, self.stores, self.ownerships, self.clients, strict=True
        ):
            Deferred.fromCoroutine(adapter.stop())  # type: ignore[arg-type]
            store.stopService()
            ownerships.keep_only(set())
            self.inspector.settle(self.clock)
            client.close()
        self.inspector.settle(self.clock)
        assert self.clock.getDelayedCalls() == []


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(st.tuples(st.integers(0, 1), st.sampled_from((0, 0.005, 0.01, 0.05))), max_size=20))
def test_never_more_than_needed(wishes: list[tuple[int, float]]) -> None:
    """However two launchers ask at the same time, no backing node too many is asked for."""
    rivals = Rivals()
    creations = []
    for number, (which, pause) in enumerate(wishes):
        creations.append(rivals.create(which, str(number)))
        rivals.clock.advance(pause)
    rivals.inspector.settle(rivals.clock)
    assert all(each.called for each in creations)
    rivals.check()
    needed = math.ceil(len(wishes) / SLOTS)
    assert len(rivals.table()) == needed
    assert len(rivals.inspector.dump(paths.REQUESTS + "/")) == needed
    rivals.stop()


_WISHES = st.tuples(
    st.integers(0, 1),
    st.sampled_from(("create", "create", "delete", "cut", "expire")),
    st.integers(0, 8),
    st.sampled_from((0, 0.005, 0.01, 0.05)),
)


@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(_WISHES, max_size=30))
def test_any_order(wishes: list[tuple[int, str, int, float]]) -> None:
    """Slots are given out and taken back, over lost connections too, and each once."""
    rivals = Rivals()
    under_way: dict[str, Deferred[None]] = {}
    for which, what, number, pause in wishes:
        node_id = str(number)
        if what == "cut":
            rivals.inspector.cut(rivals.clients[which], executes=number % 3)
        elif what == "expire":
            rivals.inspector.expire(rivals.clients[which])
        elif node_id not in under_way or under_way[node_id].called:
            work = rivals.create if what == "create" else rivals.delete
            under_way[node_id] = work(which, node_id)
        rivals.clock.advance(pause)
    for _ in range(50):
        rivals.clock.advance(1)
        rivals.inspector.settle(rivals.clock)
    for node_id, outcome in under_way.items():
        assert outcome.called, node_id
        outcome.addErrback(lambda failure: failure.trap(CloudError))
    # What was cut off by the end of a session happened or not.
    held = Counter(slot.node_id for each in rivals.table() for _, slot in each.held())
    assert set(held.values()) <= {1}, held
    assert rivals.taken <= set(held)
    rivals.stop()
