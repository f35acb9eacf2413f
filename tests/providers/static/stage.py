"""A launcher's surroundings in memory: ZooKeeper, hosts, a clock, and people who use nodes."""

from __future__ import annotations

from typing import Any

import attrs
from twisted.application.service import MultiService
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from nodepool_tx.config.schema import StaticProvider
from nodepool_tx.model import Node, NodeRequest, NodeState, RequestState
from nodepool_tx.nodescan.interface import Scanner
from nodepool_tx.pools.registry import PoolRegistry
from nodepool_tx.pools.tenants import TenantLimits
from nodepool_tx.providers.interface import Intervals, ProviderContext
from nodepool_tx.providers.ownership import Ownerships
from nodepool_tx.providers.static.service import StaticProviderService
from nodepool_tx.store import paths
from nodepool_tx.store.codec import decode_node, decode_request, encode_node, encode_request
from nodepool_tx.store.store import Store
from nodepool_tx.testing.scanner import MemoryHosts, MemoryScanner
from nodepool_tx.testing.zookeeper import MemoryClient, MemoryZookeeper

__all__ = ["Launcher", "Stage", "StageTestCase", "about_nodes"]


def about_nodes(path: str) -> bool:
    """For hooks: what changes nodes, not what only asks whether the server has caught up."""
    return path.startswith(paths.NODES + "/")


class Launcher:
    """One process: a session, its store, and the providers it runs."""

    def __init__(self, stage: Stage, name: str, scanner: Scanner | None = None) -> None:
        self.stage = stage
        self.client: MemoryClient = stage.zookeeper.client()
        self.store = Store(self.client, stage.clock)
        self.registry = PoolRegistry(self.store, name, "test")
        self.ownerships = Ownerships(self.client, name)
        self.root = MultiService()
        self.store.setServiceParent(self.root)
        self.context = ProviderContext(
            clock=stage.clock,
            store=self.store,
            scanner=scanner or MemoryScanner(stage.clock, stage.hosts),
            registry=self.registry,
            ownerships=self.ownerships,
            tenant_limits=TenantLimits(),
            intervals=Intervals(cleanup=60.0),
        )
        self.root.startService()
        self.client.connect()

    def provide(self, config: StaticProvider) -> StaticProviderService:
        """Start a provider."""
        service = StaticProviderService(config, self.context)
        service.setServiceParent(self.root)
        return service

    def retire(self, service: StaticProviderService) -> None:
        """Stop a provider and take it out."""
        stopped = service.disownServiceParent()
        assert stopped is not None
        self.stage.settle()
        assert stopped.called


class Stage:
    """Everything outside of the launchers."""

    def __init__(self, latency: float = 0.0) -> None:
        self.clock = Clock()
        self.clock.advance(1000)
        self.zookeeper = MemoryZookeeper(self.clock, latency=latency)
        self.inspector = self.zookeeper.inspector
        self.hosts = MemoryHosts()
        self._locks: dict[str, str] = {}
        #: A client of somebody else's.
        self.visitor: MemoryClient = self.zookeeper.client()
        self.visitor.connect()
        self.settle()

    # -- time

    def settle(self) -> None:
        """Let everything happen that needs no time to pass."""
        self.inspector.settle(self.clock, limit=50_000)

    def wait(self, seconds: float, step: float = 0.25) -> None:
        """Let time pass."""
        end = self.clock.seconds() + seconds
        while self.clock.seconds() < end:
            self.clock.advance(min(step, end - self.clock.seconds()))
            self.settle()

    # -- looking

    def nodes(self, provider: str | None = None) -> list[Node]:
        """All nodes in ZooKeeper that can be read, by id."""
        found = []
        for path, data in self.inspector.dump(paths.NODES).items():
            parts = paths.below(paths.NODES, path)
            stat = self.inspector.stat(path)
            if len(parts) == 1 and data.startswith(b"{") and stat is not None:
                node = decode_node(parts[0], data, version=stat.version, mzxid=stat.mzxid)
                if provider is None or node.provider == provider:
                    found.append(node)
        return found

    def node(self, node_id: str) -> Node:
        return next(node for node in self.nodes() if node.id == node_id)

    def only_node(self) -> Node:
        (node,) = self.nodes()
        return node

    # -- what clients do

    def put_node(self, node: Node) -> str:
        """Write a node as somebody else would; returns its id."""
        path = self.inspector.create(paths.NODES + "/", encode_node(node), sequence=True)
        return path.rpartition("/")[2]

    def change_node(self, node_id: str, **changes: Any) -> None:
        before = self.node(node_id)
        self.inspector.set(paths.node(node_id), encode_node(attrs.evolve(before, **changes)))

    def lock(self, node_id: str) -> None:
        """Take a node's lock, as Zuul does: with an ephemeral of another session."""
        path = f"{paths.node_lock(node_id)}/{'0' * 32}__lock__"
        self._locks[node_id] = self.inspector.create(path, owner=self.visitor, sequence=True)

    def unlock(self, node_id: str) -> None:
        self.inspector.delete(self._locks.pop(node_id))

    def use(self, node_id: str) -> None:
        """Lock a node and set it in use."""
        self.lock(node_id)
        self.change_node(node_id, state=NodeState.IN_USE)
        self.settle()

    def give_back(self, node_id: str) -> None:
        """Set a node used and unlock it."""
        self.change_node(node_id, state=NodeState.USED)
        self.unlock(node_id)
        self.settle()

    def put_request(self, *labels: str) -> str:
        request = NodeRequest(
            state=RequestState.REQUESTED,
            state_time=self.clock.seconds(),
            created_time=self.clock.seconds(),
            node_types=labels,
            requestor="a test",
        )
        path = self.inspector.create(
            f"{paths.REQUESTS}/200-", encode_request(request), sequence=True
        )
        return path.rpartition("/")[2]

    def request(self, request_id: str) -> NodeRequest:
        data = self.inspector.dump(paths.request(request_id))[paths.request(request_id)]
        return decode_request(request_id, data)


class StageTestCase(SynchronousTestCase):
    """Tests on a stage of their own.

    :cvar latency: seconds that ZooKeeper takes to answer.
    """

    latency = 0.0

    def setUp(self) -> None:
        self.stage = Stage(self.latency)
        self.hosts = self.stage.hosts
        self.clock = self.stage.clock
        self.launchers: list[Launcher] = []

    def tearDown(self) -> None:
        """Whatever a test did, stopping everything leaves nothing behind."""
        for launcher in self.launchers:
            stopped = Deferred.fromCoroutine(_stop(launcher))
            self.stage.settle()
            self.successResultOf(stopped)
        self.stage.visitor.close()
        self.stage.settle()
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertEqual(self.hosts.pending, [])

    def launcher(self, name: str = "l1", scanner: Scanner | None = None) -> Launcher:
        launcher = Launcher(self.stage, name, scanner)
        self.launchers.append(launcher)
        self.stage.settle()
        return launcher


async def _stop(launcher: Launcher) -> None:
    await launcher.root.stopService()
    await launcher.ownerships.keep_only(set())
    await launcher.registry.keep_only(set())
    await launcher.client.close()
