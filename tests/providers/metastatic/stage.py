"""Launchers with a cloud and a metastatic provider on top of it, all in memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Coroutine
from random import Random
from typing import Any

import attrs
from twisted.application.service import MultiService
from twisted.internet.defer import Deferred

from nodepool_tx.config.frozen import FrozenMapping
from nodepool_tx.config.metastatic import MetastaticLabel, MetastaticPool, MetastaticProvider
from nodepool_tx.config.schema import Config, ProviderConfig
from nodepool_tx.janitor import Janitor
from nodepool_tx.model import Node, NodeRequest, NodeState, RequestState
from nodepool_tx.providers.cloud.driver import cloud_driver
from nodepool_tx.providers.cloud.interface import CloudAdapter
from nodepool_tx.providers.cloud.memory import MemoryAdapter
from nodepool_tx.providers.cloud.service import CloudProviderService
from nodepool_tx.providers.metastatic.backing import Backing, decode, owner_of, table_path
from nodepool_tx.providers.metastatic.driver import MetastaticClouds
from nodepool_tx.providers.metastatic.taking_over import part_of
from nodepool_tx.store import paths
from nodepool_tx.store.codec import Unreadable, decode_request, encode_request
from tests.providers.cloud.world import Launcher, World, WorldTestCase, cloud_provider

__all__ = ["BIG", "OWNER", "MetaTestCase", "MetaWorld", "meta_label", "meta_provider"]

BIG = "big"
OWNER = owner_of("meta")

#: Nodes in one of these have their slot.
PARTS = (NodeState.READY, NodeState.IN_USE, NodeState.USED)


def meta_label(name: str = "small", **changes: Any) -> MetastaticLabel:
    known = {"backing_label": BIG, "max_parallel_jobs": 3, "grace_time": 60, **changes}
    return MetastaticLabel(name=name, **known)


def meta_provider(*labels: MetastaticLabel, **changes: Any) -> MetastaticProvider:
    known = labels or (meta_label(),)
    pool = MetastaticPool(
        name="main",
        provider_name="meta",
        labels=frozenset(label.name for label in known),
        cloud_labels=FrozenMapping({label.name: label for label in known}),
    )
    return MetastaticProvider(name="meta", driver="metastatic", pools=(pool,), **changes)


class MetaWorld(World):
    """Everything outside of the launchers, and what must hold."""

    clouds = MetastaticClouds()
    driver = cloud_driver("metastatic", MetastaticProvider, clouds.adapter)

    def provide_meta(
        self, launcher: Launcher, config: ProviderConfig | None = None
    ) -> CloudProviderService:
        """Start a metastatic provider, as the driver does."""
        service: Any = self.driver.build(config or meta_provider(), launcher.context)
        place = MultiService()
        service.setServiceParent(place)
        place.setServiceParent(launcher.root)
        self.settle()
        return service

    def provide_meta_again(
        self, launcher: Launcher, old: CloudProviderService, config: MetastaticProvider
    ) -> CloudProviderService:
        """Let another service take the place of one, which goes on with what it has begun."""
        idle = old.idle()
        self.settle()
        assert idle.called
        return self.provide_meta(launcher, config)

    def both(
        self, name: str = "l1", config: MetastaticProvider | None = None
    ) -> tuple[Launcher, CloudProviderService]:
        """A launcher that serves big nodes, and small ones carved out of them."""
        launcher = self.launcher(name)
        janitor = Janitor(
            self.clock,
            launcher.store,
            Config,
            lambda: ("cloud", "meta"),
            interval=60.0,
            lock_age=3600.0,
        )
        janitor.setServiceParent(launcher.root)
        # Both at once, or what only one of them serves would be declined.
        big = cloud_provider(BIG, launch_timeout=600.0)
        adapter = MemoryAdapter(self.cloud, poll_interval=self.poll_interval)
        cloud = CloudProviderService(big, launcher.context, adapter, random=Random(1))
        cloud.setServiceParent(launcher.root)
        return launcher, self.provide_meta(launcher, config)

    def kill(self, launcher: Launcher) -> None:
        """End a process, as if it had been killed some seconds ago."""
        super().kill(launcher)
        launcher.root.stopService()
        self.wait(16)

    def adapter_of(self, launcher: Launcher) -> CloudAdapter:
        """Another adapter of the provider, started; stop it when done."""
        adapter = self.clouds.adapter(meta_provider(), launcher.context)
        adapter.start()
        return adapter

    def do(self, work: Coroutine[Any, Any, Any]) -> None:
        """Do something that takes no time."""
        done = Deferred.fromCoroutine(work)
        self.settle()
        assert done.called

    # -- looking ---------------------------------------------------------

    def table(self) -> dict[str, Backing]:
        """Every readable record."""
        found: dict[str, Backing] = {}
        for path, data in self.inspector.dump(table_path("meta") + "/").items():
            stat = self.inspector.stat(path)
            id = path.rpartition("/")[2]
            assert stat is not None
            try:
                found[id] = decode(id, data, stat.version)
            except Unreadable:
                continue
        return found

    def backing(self) -> Backing:
        """The only record."""
        (backing,) = self.table().values()
        return backing

    def requests(self) -> dict[str, NodeRequest]:
        below = self.inspector.dump(paths.REQUESTS + "/")
        ids = {path.rpartition("/")[2]: data for path, data in below.items()}
        return {id: decode_request(id, data) for id, data in ids.items()}

    def asked_for(self) -> list[NodeRequest]:
        """Our requests for backing nodes."""
        return [each for each in self.requests().values() if each.requestor == OWNER]

    def of(self, provider: str) -> list[Node]:
        return [node for node in self.nodes().values() if node.provider == provider]

    # -- clients ---------------------------------------------------------

    def ask(self, count: int = 1, label: str = "small") -> str:
        """Ask for nodes, of whichever pool; returns the request's id."""
        return self.request(*[label] * count, state=RequestState.REQUESTED).id

    def given(self, request_id: str) -> list[str]:
        """The nodes of a fulfilled request, used from now on; the request is removed."""
        request = self.requests()[request_id]
        assert request.state is RequestState.FULFILLED, request
        for node_id in request.nodes:
            self.use(node_id)
        self.inspector.delete_tree(paths.request(request_id))
        self.settle()
        return list(request.nodes)

    def serve(self, count: int = 1, label: str = "small", seconds: float = 60.0) -> list[str]:
        """Nodes in use, which had to be waited for so long."""
        request_id = self.ask(count, label)
        self.wait(seconds)
        return self.given(request_id)

    def change_request(self, request_id: str, **changes: Any) -> None:
        request = attrs.evolve(self.requests()[request_id], **changes)
        self.inspector.set(paths.request(request_id), encode_request(request))

    # -- what must hold --------------------------------------------------

    def check(self) -> None:
        """What holds at any moment."""
        table, nodes = self.table(), self.nodes()
        holders = Counter(slot.node_id for each in table.values() for _, slot in each.held())
        assert max(holders.values(), default=0) <= 1, "a node has two slots"
        parts = Counter(
            part
            for node in nodes.values()
            if node.state in PARTS and node.provider == "meta" and (part := part_of(node))
        )
        assert max(parts.values(), default=0) <= 1, "a slot has two nodes"
        for node in nodes.values():
            part = part_of(node) if node.provider == "meta" and node.state in PARTS else None
            if part is not None and (backing := self.record_of(part[0])) is not None:
                assert backing.slot_of(node.id) == part[1], (node, backing)
        asked = Counter(request.requestor_data["backing"] for request in self.asked_for())
        assert max(asked.values(), default=0) <= 1, "a backing node was asked for twice"
        for id in asked:
            assert id in table, "a request for no record"
        for node in nodes.values():
            if node.user_data and OWNER in node.user_data and self.locked(node.id):
                assert self.record_of(node.id) is not None, "a backing node is forgotten"
        used = [n for n in nodes.values() if n.state is NodeState.IN_USE and n.provider == "meta"]
        for node in used:
            part = part_of(node)
            assert part is not None
            assert part[0] in nodes, "the backing node of a node in use was released"
            assert nodes[part[0]].state is NodeState.IN_USE

    def record_of(self, node_id: str) -> Backing | None:
        return next((each for each in self.table().values() if each.node == node_id), None)


class MetaTestCase(WorldTestCase):
    """Tests in a world of their own."""

    world: MetaWorld

    def make_world(self) -> World:
        return MetaWorld()
