"""Launchers that keep stock, in memory, with the clouds and clients around them.

The serving side is played by the test: a :class:`Cloud` answers requests and
makes nodes as a pool and its provider do, one deterministic pass at a time.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections import Counter
from typing import Any

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import LogEvent, globalLogPublisher

from nodepool_tx.config.cloud import CloudImage, CloudLabel, CloudPool, CloudProvider
from nodepool_tx.config.frozen import FrozenMapping
from nodepool_tx.config.schema import Config, Label
from nodepool_tx.janitor import Janitor
from nodepool_tx.minready.service import MinReady
from nodepool_tx.model import Node, NodeRequest, NodeState, PoolComponent, RequestState
from nodepool_tx.store import paths
from nodepool_tx.store.codec import (
    decode_node,
    decode_request,
    encode_component,
    encode_node,
    encode_request,
)
from nodepool_tx.store.store import Store
from nodepool_tx.testing.zookeeper import MemoryZookeeper
from nodepool_tx.txzookeeper.interface import SessionState

EPOCH = 1_700_000_000.0
#: The same bytes are read over and over.
_node = functools.lru_cache(maxsize=1000)(decode_node)
_request = functools.lru_cache(maxsize=1000)(decode_request)

WAITING = (RequestState.REQUESTED, RequestState.PENDING)


def cloud_pool(provider: str, labels: dict[str, str | None], **fields: Any) -> CloudPool:
    """A pool; labels name their disk image, if they need one."""
    return CloudPool(
        name="main",
        provider_name=provider,
        labels=frozenset(labels),
        cloud_labels=FrozenMapping(
            {
                name: CloudLabel(name, CloudImage(image, diskimage=True) if image else None)
                for name, image in labels.items()
            }
        ),
        **fields,
    )


def config_of(
    wanted: dict[str, int],
    *,
    providers: tuple[str, ...] = ("sky",),
    images: dict[str, str | None] | None = None,
    max_ready_age: int = 0,
) -> Config:
    """Labels with their min-ready, all of them had by every provider."""
    labels = {name: Label(name, count, max_ready_age) for name, count in wanted.items()}
    pools = dict.fromkeys(wanted) | (images or {})
    return Config(
        labels=FrozenMapping(labels),
        providers=FrozenMapping(
            {
                name: CloudProvider(name=name, driver="fake", pools=(cloud_pool(name, pools),))
                for name in providers
            }
        ),
    )


class Process:
    """One launcher: it keeps stock, and serves requests from one cloud."""

    def __init__(self, world: World, config: Config, provider: str, **cloud: Any) -> None:
        self.world = world
        self.config = config
        self.name = f"host{len(world.processes)}"
        self.client = world.zookeeper.client()
        self.store = Store(self.client, world.clock)
        self.min_ready = MinReady(
            world.clock,
            self.store,
            lambda: self.config,
            self.name,
            interval=60.0,
            random=lambda: 0.5,
        )
        self.janitor = Janitor(
            world.clock,
            self.store,
            lambda: self.config,
            lambda: list(self.config.providers),
            interval=60.0,
            lock_age=3600.0,
        )
        for service in (self.store, self.janitor, self.min_ready):
            service.startService()
        self.client.connect()
        world.settle()
        self.cloud = Cloud(self, provider, **cloud)
        self.alive = True
        world.settle()

    def reload(self, config: Config) -> None:
        self.config = config
        self.cloud.show()
        self.min_ready.reconfigure()
        self.world.settle()

    def kill(self, executes: int = 0) -> None:
        """No more of it is heard; a few of its requests may still happen."""
        self.alive = False
        self.world.inspector.suspend(self.client, executes=executes)

    def stop(self) -> Deferred[Any]:
        self.alive = False

        async def stop() -> None:
            await self.min_ready.stopService()
            await self.janitor.stopService()
            await self.store.stopService()
            await self.client.close()

        return Deferred.fromCoroutine(stop())

    def leads(self) -> list[str]:
        return sorted(keeper.label for keeper in self.min_ready.keepers() if keeper.leads)


class Cloud:
    """A pool and its provider.

    :param capacity: nodes it may have at once.
    :param build: seconds from taking a request to the node being ready.
    :ivar refuses: while it is True, no node comes up.
    :ivar online: while it is False, it does nothing.
    """

    def __init__(
        self, process: Process, provider: str, *, capacity: float = math.inf, build: float = 60.0
    ) -> None:
        self.process = process
        self.world = process.world
        self.provider = provider
        self.capacity = capacity
        self.build = build
        self.refuses = False
        self.online = True
        self.id = f"{process.name}-PoolWorker.{provider}-main"
        self.path = ""
        self._locks: dict[str, str] = {}
        self.show()

    def show(self) -> None:
        """Register the pool, with the labels that the configuration has now."""
        config = self.process.config.providers.get(self.provider)
        labels = frozenset(
            label for pool in (config.pools if config else ()) for label in pool.labels
        )
        component = PoolComponent(
            id=self.id,
            name="main",
            provider_name=self.provider,
            hostname=self.process.name,
            supported_labels=labels,
        )
        inspector = self.world.inspector
        if self.path and inspector.stat(self.path):
            inspector.set(self.path, encode_component(component))
        else:
            prefix = paths.component("pool", self.process.name)
            data = encode_component(component)
            self.path = inspector.create(prefix, data, owner=self.process.client, sequence=True)
        self.labels = labels

    def work(self) -> None:
        """One pass over everything that is the cloud's to do."""
        connected = self.process.client.state is SessionState.CONNECTED
        if not (self.process.alive and connected and self.online):
            return
        stat = self.world.inspector.stat
        if stat(self.path) is None:
            # The session is another one: what belonged to the old one is gone.
            self._locks = {which: path for which, path in self._locks.items() if stat(path)}
            self.show()
        for node in self.world.nodes().values():
            if node.provider == self.provider:
                self._care(node)
        for request in sorted(self.world.requests().values(), key=lambda r: r.sort_key):
            if request.state is RequestState.REQUESTED:
                self._consider(request)
            elif request.state is RequestState.PENDING and request.id in self._locks:
                self._conclude(request)
        requests = self.world.requests()
        for request_id in [each for each in self._locks if each.startswith("900")]:
            if request_id not in requests:
                self._unlock(request_id)

    def _care(self, node: Node) -> None:
        world, now = self.world, self.world.clock.seconds()
        if node.state in (NodeState.USED, NodeState.FAILED) and not world.locked(node.id):
            world.write(node.in_state(NodeState.DELETING, now))
        elif node.state is NodeState.DELETING and now - node.state_time >= 20.0:
            self._locks.pop(node.id, None)
            world.inspector.delete_tree(paths.node(node.id))
            world.gone.append(node)
        elif node.state in (NodeState.INIT, NodeState.BUILDING):
            if node.id not in self._locks:
                if world.locked(node.id):
                    return
                self._lock(node.id, paths.node_lock(node.id))
            if node.allocated_to and node.allocated_to not in world.requests():
                node = attrs.evolve(node, allocated_to=None)
                world.write(node)
            if node.state is NodeState.INIT:
                world.write(node.in_state(NodeState.BUILDING, now))
            elif now - node.state_time >= self.build:
                done = NodeState.FAILED if self.refuses else NodeState.READY
                world.write(node.in_state(done, now))
                self._unlock(node.id)

    def _consider(self, request: NodeRequest) -> None:
        world = self.world
        if self.id in request.declined_by or not set(request.node_types) <= self.labels:
            return
        if world.locked_request(request.id):
            return
        unclaimed = [
            node
            for node in world.nodes().values()
            if node.provider == self.provider
            and node.state is NodeState.BUILDING
            and node.allocated_to in (None, request.id)
            and set(request.node_types) <= set(node.type)
        ]
        room = sum(n.provider == self.provider for n in world.nodes().values()) < self.capacity
        if not unclaimed and not room:
            if request.is_min_ready:
                self._decline(request)
            return
        self._lock(request.id, paths.request_lock(request.id))
        now = world.clock.seconds()
        world.write_request(request.in_state(RequestState.PENDING, now))
        if unclaimed:
            world.write(attrs.evolve(unclaimed[0], allocated_to=request.id))
            return
        node = Node(
            state=NodeState.INIT,
            state_time=now,
            created_time=now,
            provider=self.provider,
            pool="main",
            type=request.node_types,
            allocated_to=request.id,
            launcher=self.id,
            requestor=request.requestor,
        )
        path = world.inspector.create(f"{paths.NODES}/", encode_node(node), sequence=True)
        world.launches += 1
        node_id = path.rpartition("/")[2]
        self._lock(node_id, paths.node_lock(node_id))

    def _conclude(self, request: NodeRequest) -> None:
        promised = [n for n in self.world.nodes().values() if n.allocated_to == request.id]
        states = {node.state for node in promised}
        if not states & {NodeState.INIT, NodeState.BUILDING, NodeState.READY}:
            for node in promised:
                self.world.write(attrs.evolve(node, allocated_to=None))
            self._decline(request)
            self._unlock(request.id)
        elif states == {NodeState.READY}:
            now, ids = self.world.clock.seconds(), tuple(node.id for node in promised)
            self.world.write_request(request.in_state(RequestState.FULFILLED, now, nodes=ids))
            self._unlock(request.id)

    def _decline(self, request: NodeRequest) -> None:
        online = {cloud.id for cloud in self.world.clouds()}
        declined_by = (*request.declined_by, self.id)
        state = RequestState.FAILED if online <= set(declined_by) else RequestState.REQUESTED
        now = self.world.clock.seconds()
        self.world.write_request(request.in_state(state, now, declined_by=declined_by))

    def _lock(self, which: str, path: str) -> None:
        self._locks[which] = self.world.inspector.create(
            f"{path}/{'0' * 32}__lock__", owner=self.process.client, sequence=True
        )

    def _unlock(self, which: str) -> None:
        path = self._locks.pop(which)
        if self.world.inspector.stat(path):
            self.world.inspector.delete(path)


class World:
    """Everything there is.

    :ivar launches: how many nodes were ever begun.
    :ivar most: the most min-ready requests that were outstanding at any time, by label.
    :ivar written: the requests that the launchers here have written.
    :ivar theirs: those of others.
    :ivar gone: nodes that were deleted, as they were last.
    :ivar uses: ids of the nodes that clients took.
    :ivar stocked: the most nodes that were on their way or in stock, by label.
    """

    def __init__(self, latency: float = 0.0) -> None:
        self.clock = Clock()
        self.clock.advance(EPOCH)
        self.zookeeper = MemoryZookeeper(self.clock, latency=latency)
        self.inspector = self.zookeeper.inspector
        self.user = self.zookeeper.client()
        self.user.connect()
        self.processes: list[Process] = []
        self.launches = 0
        self.most: dict[str, int] = {}
        self.written: set[str] = set()
        self.theirs: set[str] = set()
        self.gone: list[Node] = []
        self.uses: list[str] = []
        self.stocked: dict[str, int] = {}
        self.failures: list[LogEvent] = []
        self._uses: list[tuple[float, str, str]] = []
        globalLogPublisher.addObserver(self._on_event)
        # Everything that is written is looked at, and nothing can hide between steps.
        for op in ("create", "transaction"):
            self.inspector.after(
                op, lambda call: self._observe(), path=lambda p: paths.REQUESTS in p, times=None
            )

    def close(self) -> None:
        globalLogPublisher.removeObserver(self._on_event)

    def _on_event(self, event: LogEvent) -> None:
        if event.get("log_failure") is not None:
            self.failures.append(event)

    def _observe(self) -> None:
        outstanding: dict[str, int] = {}
        for request in self.requests().values():
            if request.is_min_ready and request.id not in self.theirs:
                self.written.add(request.id)
            if request.is_min_ready and request.state in WAITING:
                label = request.node_types[0]
                outstanding[label] = outstanding.get(label, 0) + 1
        for label, count in outstanding.items():
            self.most[label] = max(self.most.get(label, 0), count)

    def start(self, config: Config, provider: str = "sky", **cloud: Any) -> Process:
        self.processes.append(Process(self, config, provider, **cloud))
        self.settle()
        return self.processes[-1]

    def clouds(self) -> list[Cloud]:
        """Those that are online."""
        return [
            each.cloud
            for each in self.processes
            if self.inspector.stat(each.cloud.path) is not None
        ]

    # -- time ------------------------------------------------------------

    def settle(self) -> None:
        self.inspector.settle(self.clock)

    def wait(self, seconds: float, step: float = 5.0) -> None:
        """Let time pass, with everyone doing what is theirs."""
        end = self.clock.seconds() + seconds
        while (left := end - self.clock.seconds()) > 0:
            self.clock.advance(min(step, left))
            self.settle()
            self.turn()

    def turn(self) -> None:
        """Everyone does what can be done now."""
        self._return_used()
        for process in self.processes:
            process.cloud.work()
            self.settle()
        stocked = Counter(
            node.type[0]
            for node in self.nodes().values()
            if node.state in (NodeState.INIT, NodeState.BUILDING, NodeState.READY)
        )
        for label, count in stocked.items():
            self.stocked[label] = max(self.stocked.get(label, 0), count)

    # -- looking ---------------------------------------------------------

    def nodes(self) -> dict[str, Node]:
        below = self.inspector.dump(paths.NODES)
        found = {path.rpartition("/")[2]: d for path, d in below.items() if path.count("/") == 3}
        return {node_id: _node(node_id, data) for node_id, data in found.items()}

    def requests(self) -> dict[str, NodeRequest]:
        below = self.inspector.dump(f"{paths.REQUESTS}/")
        found = {path.rpartition("/")[2]: data for path, data in below.items()}
        return {request_id: _request(request_id, data) for request_id, data in found.items()}

    def asked(self, label: str = "small") -> list[NodeRequest]:
        """Every min-ready request there is."""
        requests = self.requests().values()
        return [each for each in requests if each.is_min_ready and label in each.node_types]

    def stock(self, label: str = "small") -> list[Node]:
        """Nodes that are ready and nobody's."""
        return [
            node
            for node in self.nodes().values()
            if node.state is NodeState.READY and not node.allocated_to and label in node.type
        ]

    def locked(self, node_id: str) -> bool:
        return bool(self.inspector.dump(f"{paths.node_lock(node_id)}/"))

    def locked_request(self, request_id: str) -> bool:
        return bool(self.inspector.dump(f"{paths.request_lock(request_id)}/"))

    def leaders(self, label: str = "small") -> list[Process]:
        return [each for each in self.processes if each.alive and label in each.leads()]

    # -- what others do --------------------------------------------------

    def write(self, node: Node) -> None:
        self.inspector.set(paths.node(node.id), encode_node(node))

    def write_request(self, request: NodeRequest) -> None:
        self.inspector.set(paths.request(request.id), encode_request(request))
        self._observe()

    def put(self, *labels: str, **changes: Any) -> str:
        """A node that somebody else made; returns its id."""
        fields = {
            "state": NodeState.READY,
            "state_time": self.clock.seconds(),
            "provider": "sky",
            "pool": "main",
            "type": labels,
            **changes,
        }
        path = self.inspector.create(f"{paths.NODES}/", encode_node(Node(**fields)), sequence=True)
        return path.rpartition("/")[2]

    def ask(self, *labels: str, **changes: Any) -> str:
        """A request that another launcher's keeper wrote; returns its id."""
        fields = {
            "state": RequestState.REQUESTED,
            "state_time": self.clock.seconds(),
            "node_types": labels,
            "reuse": False,
            "requestor": "NodePool:min-ready",
            **changes,
        }
        path = self.inspector.create(
            f"{paths.REQUESTS}/900-",
            encode_request(NodeRequest(**fields)),
            owner=self.user,
            sequence=True,
        )
        request_id = path.rpartition("/")[2]
        self.theirs.add(request_id)
        return request_id

    def use(self, label: str, seconds: float) -> bool:
        """A client takes a node from the stock; False if there is none."""
        for node in self.stock(label):
            if self.locked(node.id):
                continue
            lock = self.inspector.create(
                f"{paths.node_lock(node.id)}/{'1' * 32}__lock__", owner=self.user, sequence=True
            )
            self.write(node.in_state(NodeState.IN_USE, self.clock.seconds()))
            self.uses.append(node.id)
            self._uses.append((self.clock.seconds() + seconds, node.id, lock))
            return True
        return False

    def _return_used(self) -> None:
        now = self.clock.seconds()
        for until, node_id, lock in [use for use in self._uses if use[0] <= now]:
            self._uses.remove((until, node_id, lock))
            self.write(self.nodes()[node_id].in_state(NodeState.USED, now))
            self.inspector.delete(lock)

    def check(self) -> None:
        """Nobody failed, and no two lead one label."""
        assert not self.failures, self.failures[0]
        leading = itertools.chain.from_iterable(
            each.leads() for each in self.processes if each.alive
        )
        labels = list(leading)
        assert len(labels) == len(set(labels)), labels
