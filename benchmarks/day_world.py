"""A whole launcher with ten clouds and their users, in memory, for :mod:`benchmarks.day`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from random import Random
from typing import Any, cast

import attrs
from twisted.application.service import MultiService
from twisted.internet.defer import Deferred, fail, gatherResults
from twisted.internet.task import Clock

from benchmarks.virtual_clock import VirtualClock
from nodepool_tx.config.cloud import CloudImage, CloudLabel, CloudPool, CloudProvider
from nodepool_tx.config.frozen import FrozenMapping
from nodepool_tx.config.schema import Config, Label
from nodepool_tx.janitor import Janitor
from nodepool_tx.minready.service import MinReady
from nodepool_tx.model import NodeRequest, NodeState, RequestState
from nodepool_tx.nodescan.interface import Address, AddressFamily, ScanTimeout
from nodepool_tx.pools.registry import PoolRegistry
from nodepool_tx.pools.tenants import TenantLimits
from nodepool_tx.providers.cloud.errors import CloudError
from nodepool_tx.providers.cloud.memory import MemoryAdapter
from nodepool_tx.providers.cloud.memory_cloud import MemoryCloud, Script, Timing
from nodepool_tx.providers.cloud.service import CloudProviderService
from nodepool_tx.providers.interface import Intervals, ProviderContext
from nodepool_tx.providers.ownership import Ownerships
from nodepool_tx.resources import Amounts
from nodepool_tx.store import paths
from nodepool_tx.store.codec import decode_node, decode_request, encode_node, encode_request
from nodepool_tx.store.store import Store
from nodepool_tx.testing.zookeeper import MemoryZookeeper
from nodepool_tx.txzookeeper.interface import WatchEvent, WatchKind

MIDNIGHT = 1_800_000_000.0
CONTENDER = f"{0:032}__lock__"
LATENCY = 0.002
"""Seconds from a request to ZooKeeper to its answer."""
FLAVORS: dict[str, Amounts] = {
    "small": {"instances": 1, "cores": 2, "ram": 4096},
    "medium": {"instances": 1, "cores": 4, "ram": 8192},
    "large": {"instances": 1, "cores": 8, "ram": 16384},
    "arm": {"instances": 1, "cores": 4, "ram": 8192},
}
MIN_READY = {"small": 20, "medium": 10, "large": 0, "arm": 2}
TENANT_LIMITS: dict[str, Amounts] = {"tenant-5": {"instances": 60, "cores": 200}}


class TroubledCloud(MemoryCloud):
    """A cloud in which a few things in a hundred go wrong.

    :param call_trouble: the share of servers asked for that is answered with an error; half of
        them are made all the same.
    :param boot_trouble: the share of servers that never come up.
    """

    def __init__(
        self, chance: Random, call_trouble: float, boot_trouble: float, clock: Any, **rest: Any
    ) -> None:
        super().__init__(clock, **rest)
        self._chance = chance
        self._call_trouble = call_trouble
        self._boot_trouble = boot_trouble
        #: What went wrong so far, by kind.
        self.troubles: Counter[str] = Counter()

    def script(self, method: str) -> Script | None:
        found = super().script(method)
        if found is not None:
            self.troubles["outage"] += 1
        elif method == "create":
            if self._chance.random() < self._boot_trouble:
                self.troubles["boot"] += 1
                self.fail_boot(CloudError("the simulated server does not come up"))
            if self._chance.random() < self._call_trouble:
                self.troubles["create"] += 1
                error = CloudError("the simulated cloud is confused")
                return Script(error, done=self._chance.random() < 0.5)
        return found


class Hosts:
    """Every address answers, in no time."""

    def __init__(self, clock: VirtualClock) -> None:
        self._clock = clock

    def scan_keys(
        self, host: str, port: int, timeout: float, *, wait: bool = False
    ) -> Deferred[tuple[str, ...]]:
        return self._later((f"ssh-ed25519 {host}",))

    def probe(
        self, host: str, port: int, timeout: float, *, wait: bool = False
    ) -> Deferred[Address]:
        return self._later(Address(AddressFamily.IPV4, host, port))

    def resolve(self, host: str, port: int) -> Deferred[Address]:
        return fail(ScanTimeout(host, port, "nobody knows"))

    def _later(self, answer: Any) -> Deferred[Any]:
        waiting: Deferred[Any] = Deferred(lambda _: timer.cancel())
        timer = self._clock.callLater(0.5, waiting.callback, answer)
        return waiting


def provider(number: int) -> tuple[CloudProvider, Amounts]:
    """One of ten providers, and the quota of its account; they are not all alike."""
    name = f"cloud-{number}"
    offered = ["small", "medium", "large"]
    if number % 4 == 0:
        offered.append("arm")
    labels = {label: CloudLabel(label, CloudImage("image", username="zuul")) for label in offered}
    servers = (120, 160, 200, 240, 280)[number % 5]
    pool = CloudPool(
        name="main",
        provider_name=name,
        labels=frozenset(labels),
        cloud_labels=FrozenMapping(labels),
        max_servers=servers - 10,
    )
    config = CloudProvider(name=name, driver="memory", pools=(pool,), rate=20.0)
    return config, {"instances": servers, "cores": 4 * servers, "ram": 8192 * servers}


class World:
    """ZooKeeper, ten clouds, one launcher, and its clients.

    :ivar failures: what nobody had expected.
    """

    def __init__(self, chance: Random) -> None:
        self.clock = VirtualClock(MIDNIGHT)
        time = cast(Clock, self.clock)
        self.zookeeper = MemoryZookeeper(time, latency=LATENCY)
        self.clouds: dict[str, TroubledCloud] = {}
        self.limits: dict[str, int] = {}
        providers: dict[str, CloudProvider] = {}
        client = self.zookeeper.client()
        self.store = Store(client, time)
        registry = PoolRegistry(self.store, "launcher", "benchmark")
        limits = TenantLimits(TENANT_LIMITS)
        context = ProviderContext(
            clock=time,
            store=self.store,
            scanner=Hosts(self.clock),
            registry=registry,
            ownerships=Ownerships(client, "launcher"),
            tenant_limits=limits,
            intervals=Intervals(),
        )
        self.root = MultiService()
        self.store.setServiceParent(self.root)
        for number in range(10):
            described, quota = provider(number)
            name = described.name
            providers[name] = described
            self.limits[name] = int(described.pools[0].max_servers)
            seeded = Random(chance.random())
            timing = Timing(
                answer=_between(seeded, 0.1, 0.5),
                boot=_between(seeded, 15.0, 60.0),
                delete=_between(seeded, 3.0, 15.0),
            )
            cloud = TroubledCloud(
                seeded,
                *(0.01, 0.02),
                time,
                timing=timing,
                flavors=FLAVORS,
                quota=quota,
                zones=("az1", "az2"),
            )
            self.clouds[name] = cloud
            service = CloudProviderService(
                described, context, MemoryAdapter(cloud), random=Random(chance.random())
            )
            service.setServiceParent(self.root)
        config = Config(
            labels=FrozenMapping({name: Label(name, count) for name, count in MIN_READY.items()}),
            providers=FrozenMapping(providers),
        )
        Janitor(
            time, self.store, lambda: config, lambda: providers, interval=60.0, lock_age=28800.0
        ).setServiceParent(self.root)
        MinReady(
            time, self.store, lambda: config, "launcher", interval=60.0, random=chance.random
        ).setServiceParent(self.root)
        self.root.startService()
        client.connect()
        self.users = Users(self)

    def stop(self) -> Deferred[Any]:
        """Stop the launcher in order."""
        stopped: Deferred[Any] = self.root.stopService()
        return stopped


def _between(chance: Random, low: float, high: float) -> Any:
    return lambda: chance.uniform(low, high)


@attrs.frozen
class Wish:
    """What a client asks for, and for how many seconds it uses it."""

    labels: tuple[str, ...]
    tenant: str
    seconds: float


@attrs.frozen
class Outcome:
    """What became of a wish; times are the clock's, in seconds."""

    asked: float
    answered: float
    fulfilled: bool
    nodes: int


class Users:
    """Zuul, as far as nodes go: asks, locks, uses, gives back.

    :ivar outcomes: of what was asked and answered.
    :ivar waiting: how many requests are open.
    :ivar using: how many nodes are in use.
    """

    def __init__(self, world: World) -> None:
        self._clock = world.clock
        self._client = world.zookeeper.client()
        self._news: dict[str, Deferred[None]] = {}
        self._holders: dict[str, str] = {}
        self.outcomes: list[Outcome] = []
        self.waiting = self.using = 0
        self.failures: list[Any] = []
        Deferred.fromCoroutine(self._begin()).addErrback(self.failures.append)

    async def _begin(self) -> None:
        await self._client.connect()
        await self._client.ensure_path(paths.REQUESTS)
        await self._client.watch(paths.REQUESTS, self._on_event, recursive=True)

    def ask(self, wish: Wish) -> None:
        """Begin a job."""
        Deferred.fromCoroutine(self._job(wish)).addErrback(self.failures.append)

    def _on_event(self, event: WatchEvent) -> None:
        news = self._news.get(event.path)
        if news is not None and not news.called and event.kind is WatchKind.CHANGED:
            news.callback(None)

    async def _job(self, wish: Wish) -> None:
        asked = self._clock.seconds()
        self.waiting += 1
        request = NodeRequest(
            state=RequestState.REQUESTED,
            state_time=asked,
            created_time=asked,
            node_types=wish.labels,
            requestor="zuul",
            tenant_name=wish.tenant,
        )
        path = await self._client.create(
            f"{paths.REQUESTS}/100-", encode_request(request), sequence=True
        )
        answer = await self._answer(path)
        self.waiting -= 1
        fulfilled = answer.state is RequestState.FULFILLED
        self.outcomes.append(Outcome(asked, self._clock.seconds(), fulfilled, len(wish.labels)))
        if fulfilled:
            await self._use(answer, path, wish)
        else:
            await self._client.delete(path)

    async def _answer(self, path: str) -> NodeRequest:
        while True:
            news: Deferred[None] = Deferred()
            self._news[path] = news
            data, _ = await self._client.get(path)
            request = decode_request(path.rpartition("/")[2], data)
            if request.state in (RequestState.FULFILLED, RequestState.FAILED):
                del self._news[path]
                return request
            await news

    async def _use(self, request: NodeRequest, path: str, wish: Wish) -> None:
        for node_id in request.nodes:
            if node_id in self._holders:
                other = self._holders[node_id]
                raise AssertionError(f"{node_id} is given to {request.id} while {other} has it")
            self._holders[node_id] = request.id
        held = [f"{paths.node_lock(node_id)}/{CONTENDER}" for node_id in request.nodes]
        locks = await gatherResults(
            [
                self._client.create(each, b"", ephemeral=True, sequence=True, makepath=True)
                for each in held
            ]
        )
        for node_id, label in zip(request.nodes, wish.labels, strict=True):
            node = decode_node(node_id, (await self._client.get(paths.node(node_id)))[0])
            if node.allocated_to != request.id or label not in node.type:
                raise AssertionError(f"{node} was given to {request}")
        self.using += len(locks)
        await self._client.delete(path)
        await self._set(request.nodes, NodeState.IN_USE)
        done: Deferred[None] = Deferred()
        self._clock.callLater(wish.seconds, done.callback, None)
        await done
        await self._set(request.nodes, NodeState.USED)
        self.using -= len(locks)
        for node_id in request.nodes:
            del self._holders[node_id]
        await gatherResults([self._client.delete(lock) for lock in locks])

    async def _set(self, node_ids: Iterable[str], state: NodeState) -> None:
        for node_id in node_ids:
            data, _ = await self._client.get(paths.node(node_id))
            node = attrs.evolve(
                decode_node(node_id, data), state=state, state_time=self._clock.seconds()
            )
            await self._client.set(paths.node(node_id), encode_node(node))
