"""Everything around a cloud provider, in memory: ZooKeeper, the cloud, time, and people."""

from __future__ import annotations

import math
from contextlib import suppress
from random import Random
from typing import Any

import attrs
from twisted.application.service import MultiService
from twisted.internet.defer import Deferred, fail
from twisted.internet.task import Clock
from twisted.logger import LogEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from nodepool_tx.config.cloud import CloudImage, CloudLabel, CloudPool, CloudProvider
from nodepool_tx.config.frozen import FrozenMapping
from nodepool_tx.model import Node, NodeRequest, NodeState, RequestState
from nodepool_tx.nodescan.interface import Address, AddressFamily, ScanTimeout
from nodepool_tx.pools.registry import PoolRegistry
from nodepool_tx.pools.tenants import TenantLimits
from nodepool_tx.providers.cloud.memory import MemoryAdapter
from nodepool_tx.providers.cloud.memory_cloud import MemoryCloud, Timing
from nodepool_tx.providers.cloud.service import CloudProviderService
from nodepool_tx.providers.interface import Intervals, ProviderContext
from nodepool_tx.providers.ownership import Ownerships
from nodepool_tx.store import paths
from nodepool_tx.store.codec import (
    Unreadable,
    decode_node,
    decode_request,
    encode_node,
    encode_request,
)
from nodepool_tx.store.store import Store
from nodepool_tx.testing.zookeeper import MemoryClient, MemoryZookeeper

__all__ = ["Launcher", "ServerScanner", "World", "WorldTestCase", "cloud_label", "cloud_provider"]

#: Requests to ZooKeeper after which a world that does not come to rest is broken.
RESTLESS = 100_000


def cloud_label(name: str, **changes: Any) -> CloudLabel:
    """A label with an image that is in the cloud already."""
    return CloudLabel(name=name, **{"image": CloudImage(name="debian", username="zuul"), **changes})


def cloud_provider(
    *labels: str | CloudLabel, name: str = "cloud", pool: str = "main", **changes: Any
) -> CloudProvider:
    """A provider with one pool; ``pool_`` in front of a name changes the pool."""
    known = [cloud_label(x) if isinstance(x, str) else x for x in labels or ("small",)]
    of_pool = {key[5:]: changes.pop(key) for key in tuple(changes) if key.startswith("pool_")}
    return CloudProvider(
        name=name,
        driver="memory",
        pools=(
            CloudPool(
                name=pool,
                provider_name=name,
                labels=frozenset(label.name for label in known),
                cloud_labels=FrozenMapping({label.name: label for label in known}),
                **of_pool,
            ),
        ),
        **{"rate": 0.0, **changes},
    )


class ServerScanner:
    """Looks at the servers of a memory cloud: those that are active answer.

    :ivar deaf: how many of the next looks get no answer in time.
    :ivar looks: host, port and kind of each look so far.
    """

    def __init__(self, clock: Clock, cloud: MemoryCloud) -> None:
        self._clock = clock
        self._cloud = cloud
        self.deaf = 0
        self.looks: list[tuple[str, int, str]] = []

    def scan_keys(
        self, host: str, port: int, timeout: float, *, wait: bool = False
    ) -> Deferred[tuple[str, ...]]:
        return self._look("scan_keys", host, port, timeout, (f"ssh-ed25519 {host}",))

    def probe(
        self, host: str, port: int, timeout: float, *, wait: bool = False
    ) -> Deferred[Address]:
        answer = Address(AddressFamily.IPV4, host, port)
        return self._look("probe", host, port, timeout, answer)

    def resolve(self, host: str, port: int) -> Deferred[Address]:
        return fail(ScanTimeout(host, port, "nobody knows"))

    def _look(self, kind: str, host: str, port: int, timeout: float, result: Any) -> Deferred[Any]:
        self.looks.append((host, port, kind))
        there = any(server.interface_ip == host for server in self._cloud.servers.values())
        answer: Deferred[Any] = Deferred(lambda _: timer.cancel())
        if there and not self.deaf:
            timer = self._clock.callLater(0, answer.callback, result)
        else:
            self.deaf = max(0, self.deaf - 1)
            error = ScanTimeout(host, port, f"no answer within {timeout:g} s")
            timer = self._clock.callLater(timeout, answer.errback, error)
        return answer


class Launcher:
    """One process: a session, its store, and the providers it runs."""

    def __init__(self, world: World, name: str) -> None:
        self.world = world
        self.name = name
        self.client: MemoryClient = world.zookeeper.client()
        self.store = Store(self.client, world.clock)
        self.registry = PoolRegistry(self.store, name, "test")
        self.ownerships = Ownerships(self.client, name)
        self.root = MultiService()
        self.store.setServiceParent(self.root)
        self.context = ProviderContext(
            clock=world.clock,
            store=self.store,
            scanner=world.scanner,
            registry=self.registry,
            ownerships=self.ownerships,
            tenant_limits=TenantLimits(),
            intervals=Intervals(cleanup=60.0),
        )
        self.root.startService()
        self.client.connect()

    def provide(self, config: CloudProvider) -> CloudProviderService:
        """Start a provider, and wait until it knows its cloud."""
        adapter = MemoryAdapter(self.world.cloud, poll_interval=self.world.poll_interval)
        service = CloudProviderService(config, self.context, adapter, random=Random(1))
        service.setServiceParent(self.root)
        self.world.settle()
        return service

    def stop(self) -> Deferred[Any]:
        """Stop in order."""

        async def stop() -> None:
            await self.root.stopService()
            await self.ownerships.keep_only(set())
            await self.registry.keep_only(set())
            await self.client.close()

        return Deferred.fromCoroutine(stop())


class World:
    """Everything outside of the launchers, and the launchers.

    :ivar logged: what was logged so far, as text.
    :ivar failures: what was logged with a traceback.
    """

    def __init__(self, timing: Timing | None = None, **cloud: Any) -> None:
        self.clock = Clock()
        self.clock.advance(1_700_000_000)
        self.zookeeper = MemoryZookeeper(self.clock)
        self.inspector = self.zookeeper.inspector
        timing = timing or Timing(boot=30.0, delete=10.0)
        quota = cloud.pop("quota", {"instances": math.inf})
        self.cloud = MemoryCloud(self.clock, timing=timing, quota=quota, **cloud)
        self.poll_interval = 5.0
        self.scanner = ServerScanner(self.clock, self.cloud)
        self.launchers: list[Launcher] = []
        self.logged: list[LogEvent] = []
        self.failures: list[LogEvent] = []
        self._locks: dict[str, str] = {}
        self.visitor: MemoryClient = self.zookeeper.client()
        self.visitor.connect()
        globalLogPublisher.addObserver(self._on_event)
        self.settle()

    def close(self) -> None:
        globalLogPublisher.removeObserver(self._on_event)

    def _on_event(self, event: LogEvent) -> None:
        self.logged.append(event)
        if event.get("log_failure") is not None:
            self.failures.append(event)

    # -- launchers -------------------------------------------------------

    def launcher(self, name: str = "l1") -> Launcher:
        """Start another process."""
        launcher = Launcher(self, name)
        self.launchers.append(launcher)
        self.settle()
        return launcher

    def kill(self, launcher: Launcher) -> None:
        """End a process: nothing it asks ZooKeeper for is answered, and its session ends.

        Its objects go on asking the cloud, as far as they get, as those of a
        process would that hangs and wakes up again.
        """
        self.inspector.suspend(launcher.client)
        self.wait(11)
        launcher.client.close()
        self.launchers.remove(launcher)
        self.settle()

    # -- time ------------------------------------------------------------

    def settle(self) -> None:
        """Let everything happen that needs no time to pass."""
        self.inspector.settle(self.clock, limit=RESTLESS)

    def wait(self, seconds: float, step: float = 1.0) -> None:
        """Let time pass."""
        end = self.clock.seconds() + seconds
        while (left := end - self.clock.seconds()) > 1e-6:
            self.clock.advance(min(step, left))
            self.settle()

    # -- looking ---------------------------------------------------------

    def nodes(self) -> dict[str, Node]:
        """All nodes in ZooKeeper that can be read, by id."""
        found: dict[str, Node] = {}
        for path, data in self.inspector.dump(paths.NODES).items():
            parts = paths.below(paths.NODES, path)
            if len(parts) == 1:
                with suppress(Unreadable):
                    found[parts[0]] = decode_node(parts[0], data)
        return found

    def node(self, node_id: str) -> Node:
        return self.nodes()[node_id]

    def locked(self, node_id: str) -> bool:
        return bool(self.inspector.dump(f"{paths.node_lock(node_id)}/"))

    def said(self, part: str) -> bool:
        """Something with this text was logged."""
        return any(part in _text(event) for event in self.logged)

    # -- what pools and clients do ---------------------------------------

    def request(self, *labels: str, **changes: Any) -> NodeRequest:
        """A request that is being worked on; no pool takes it, unless ``state`` says so."""
        now = self.clock.seconds()
        request = NodeRequest(
            **{
                "state": RequestState.PENDING,
                "state_time": now,
                "created_time": now,
                "node_types": labels or ("small",),
                "requestor": "a test",
                **changes,
            }
        )
        prefix = f"{paths.REQUESTS}/200-"
        path = self.inspector.create(prefix, encode_request(request), sequence=True)
        self.settle()
        return decode_request(path.rpartition("/")[2], encode_request(request))

    def order(self, service: CloudProviderService, label: str = "small", **changes: Any) -> str:
        """Have a node made as a pool does: its record first; returns its id."""
        request = self.request(label)
        pool = service.config.pools[0].name
        node = service.making.draft(pool, label, request, service.making.zone_for(pool, [label]))
        node_id = self.put_node(attrs.evolve(node, **changes))
        service.making.make(node_id, request)
        self.settle()
        return node_id

    def put_node(self, node: Node) -> str:
        """Write a node as somebody else would; returns its id."""
        path = self.inspector.create(paths.NODES + "/", encode_node(node), sequence=True)
        return path.rpartition("/")[2]

    def change_node(self, node_id: str, **changes: Any) -> None:
        node = attrs.evolve(self.node(node_id), **changes)
        self.inspector.set(paths.node(node_id), encode_node(node))

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


def _text(event: LogEvent) -> str:
    text = event.get("log_format")
    if text is None:
        return ""
    try:
        return str(text.format(**event))
    except (KeyError, IndexError, ValueError):
        return str(text)


class WorldTestCase(SynchronousTestCase):
    """Tests in a world of their own."""

    def setUp(self) -> None:
        self.world = self.make_world()

    def make_world(self) -> World:
        return World()

    def tearDown(self) -> None:
        """Whatever a test did, stopping everything leaves nothing behind."""
        world = self.world
        world.close()
        for launcher in world.launchers:
            stopped = launcher.stop()
            world.settle()
            if not stopped.called:
                world.wait(15.0)
            self.successResultOf(stopped)
        world.visitor.close()
        world.settle()
        self.assertEqual(world.clock.getDelayedCalls(), [])
        self.assertEqual(world.failures, [])
