"""The metastatic adapter keeps the contract of adapters."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property

import attrs
from twisted.trial.unittest import TestCase

from nodepool_tx.config.cloud import CloudLabel
from nodepool_tx.config.metastatic import MetastaticLabel
from nodepool_tx.model import Node, NodeState, RequestState
from nodepool_tx.pools.registry import PoolRegistry
from nodepool_tx.pools.tenants import TenantLimits
from nodepool_tx.providers.cloud.interface import CloudAdapter
from nodepool_tx.providers.interface import Intervals, ProviderContext
from nodepool_tx.providers.metastatic.backing import decode, encode, table_path
from nodepool_tx.providers.metastatic.driver import MetastaticClouds
from nodepool_tx.providers.ownership import Ownerships
from nodepool_tx.store import paths
from nodepool_tx.store.codec import decode_request, encode_node, encode_request
from nodepool_tx.store.store import Store
from nodepool_tx.testing.scanner import MemoryHosts, MemoryScanner
from nodepool_tx.testing.zookeeper import MemoryZookeeper
from tests.contract.cloud import AdapterContract, VirtualTime
from tests.providers.metastatic.stage import meta_label, meta_provider

_NO_CLOUD = "there is no cloud behind it that could say so"


class MetastaticContractTests(VirtualTime, AdapterContract, TestCase):
    """The contract, with somebody who answers the requests for backing nodes."""

    cannot: Mapping[str, str] = {
        "add_unmanaged": "nobody else has slots",
        "ask_for_peace": _NO_CLOUD,
        "break_the_api": "what fails in ZooKeeper is tried again until it works",
        "exhaust_quota": _NO_CLOUD,
        "fill_up": _NO_CLOUD,
        "image_file": "there are no images",
        "impossible_label": "every label needs one slot",
        "leave_leftover": "nothing is made but slots",
        "leave_orphan": "nothing is made but slots",
        "lose_an_answer": "what was not answered is looked up and tried again",
        "missing_image": "there are no images",
    }
    failing = False

    def setUp(self) -> None:
        self.clock.advance(1_700_000_000)
        self.zookeeper = MemoryZookeeper(self.clock)
        self.inspector = self.zookeeper.inspector
        self.client = self.zookeeper.client()
        self.store = Store(self.client, self.clock)
        self.ownerships = Ownerships(self.client, "host")
        self.store.startService()
        self.client.connect()
        self.inspector.settle(self.clock)
        self.store.requests.subscribe(lambda change: self.clock.callLater(1.0, self.answer))
        self.addCleanup(self.close)

    def close(self) -> None:
        self.inspector.resume(self.client)
        self.store.stopService()
        self.ownerships.keep_only(set())
        self.inspector.settle(self.clock)
        self.client.close()
        self.inspector.settle(self.clock)

    def answer(self) -> None:
        """Do what pools do."""
        for path, data in self.inspector.dump(f"{paths.REQUESTS}/").items():
            request = decode_request(path.rpartition("/")[2], data)
            if request.state is not RequestState.REQUESTED:
                continue
            if self.failing:
                after = attrs.evolve(request, state=RequestState.FAILED)
            else:
                node = Node(
                    state=NodeState.READY,
                    provider="other",
                    type=request.node_types,
                    allocated_to=request.id,
                    interface_ip="192.0.2.1",
                )
                made = self.inspector.create(f"{paths.NODES}/", encode_node(node), sequence=True)
                nodes = (made.rpartition("/")[2],)
                after = attrs.evolve(request, state=RequestState.FULFILLED, nodes=nodes)
            self.inspector.set(path, encode_request(after))

    @cached_property
    def context(self) -> ProviderContext:
        return ProviderContext(
            clock=self.clock,
            store=self.store,
            scanner=MemoryScanner(self.clock, MemoryHosts()),
            registry=PoolRegistry(self.store, "host", "test"),
            ownerships=self.ownerships,
            tenant_limits=TenantLimits(),
            intervals=Intervals(),
        )

    def make_adapter(self) -> CloudAdapter:
        config = attrs.evolve(meta_provider(), name=self.provider)
        return MetastaticClouds().adapter(config, self.context)

    def label(self) -> MetastaticLabel:
        return meta_label()

    async def bad_label(self) -> CloudLabel:
        return CloudLabel(name="small")

    async def fail_a_server(self) -> None:
        self.failing = True

    async def silence_the_api(self) -> None:
        self.inspector.suspend(self.client)

    async def mend_the_api(self) -> None:
        self.inspector.resume(self.client)

    async def remove_server(self, external_id: str) -> None:
        for path, data in self.inspector.dump(table_path(self.provider) + "/").items():
            backing = decode("x", data, 0)
            number = backing.slot_of(external_id)
            if number is not None:
                self.inspector.set(path, encode(backing.with_slot(number, None)))
