"""Several whole launchers in memory, their clouds, and everyone around them."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Callable
from random import Random
from typing import Any, cast
from uuid import uuid4

import attrs
from kazoo.exceptions import ConnectionClosedError, ConnectionLoss
from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import LogEvent, globalLogPublisher

from nodepool_tx.config.cloud import CloudProvider
from nodepool_tx.config.schema import Config, ProviderConfig
from nodepool_tx.janitor import Janitor
from nodepool_tx.launcher import Launcher, Presence
from nodepool_tx.minready.service import MinReady
from nodepool_tx.model import RETURNED_STATES, Node, NodeRequest, NodeState, RequestState
from nodepool_tx.pools.registry import PoolRegistry
from nodepool_tx.pools.tenants import TenantLimits
from nodepool_tx.providers.cloud.memory import MemoryAdapter
from nodepool_tx.providers.cloud.memory_cloud import MemoryCloud, Timing
from nodepool_tx.providers.cloud.service import CloudProviderService
from nodepool_tx.providers.drains import DrainLedger
from nodepool_tx.providers.interface import Intervals, Phase, ProviderContext
from nodepool_tx.providers.ownership import Ownerships
from nodepool_tx.providers.tree import ProviderTree
from nodepool_tx.reload import Reloader
from nodepool_tx.root import OrderedService
from nodepool_tx.store import paths
from nodepool_tx.store.codec import (
    Unreadable,
    decode_node,
    decode_request,
    encode_node,
    encode_request,
)
from nodepool_tx.store.store import Store
from nodepool_tx.store.usage import resources_of
from nodepool_tx.testing.zookeeper import MemoryClient, MemoryZookeeper
from nodepool_tx.txzookeeper.interface import SessionState
from tests.providers.cloud.world import ServerScanner

#: Requests to ZooKeeper after which a farm that does not come to rest is broken.
RESTLESS = 200_000

#: Seconds after which all must be in order when nothing is in the way any more.
MENDING = 2400.0


class ProcessClock:
    """Time as one process sees it: it has none any more when it was killed."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._calls: list[Any] = []
        self.dead = False

    def seconds(self) -> float:
        return float(self._clock.seconds())

    def callLater(self, delay: float, call: Callable[..., object], *args: Any, **kw: Any) -> Any:
        later = self._clock.callLater(delay, self._call, call, args, kw)
        self._calls.append(later)
        if len(self._calls) > 1000:
            self._calls = [each for each in self._calls if each.active()]
        if self.dead:
            later.delay(1e12)
        return later

    def _call(self, call: Callable[..., object], args: Any, kw: Any) -> None:
        if not self.dead:
            call(*args, **kw)

    def getDelayedCalls(self) -> list[Any]:
        return [each for each in self._calls if each.active()]

    def die(self) -> None:
        """Call nothing any more; what wants to call it off still can."""
        self.dead = True
        for each in self.getDelayedCalls():
            each.delay(1e12)

    def revive(self) -> None:
        self.dead = False

    def bury(self) -> None:
        """Call off what is left."""
        for each in self.getDelayedCalls():
            each.cancel()


class MortalAdapter(MemoryAdapter):
    """The adapter of a process: what it asked for happens, also if it does not live to see it."""

    def __init__(self, cloud: MemoryCloud, clock: ProcessClock) -> None:
        super().__init__(cloud, poll_interval=5.0)
        self._process_clock = clock

    async def _call(self, method: str, work: Callable[[], Any]) -> Any:
        if self._process_clock.dead:
            return await Deferred()
        result = await super()._call(method, work)
        if self._process_clock.dead:
            return await Deferred()
        return result


class SessionService(Service):
    """The session of a launcher: begun first, ended last."""

    def __init__(self, client: MemoryClient) -> None:
        self.setName("zookeeper")
        self._client = client

    def startService(self) -> None:
        super().startService()
        self._client.connect().addErrback(lambda failure: failure.trap(ConnectionClosedError))

    def stopService(self) -> Deferred[None]:
        super().stopService()
        return self._client.close()


class Process:
    """One run of a launcher, put together as :mod:`nodepool_tx.tap` does it."""

    def __init__(self, farm: Farm, host: str, config: Config) -> None:
        self.farm = farm
        self.host = host
        self.number = next(farm.numbers)
        self.clock = clock = ProcessClock(farm.clock)
        self.client = farm.zookeeper.client()
        self.store = Store(self.client, cast(Any, clock))
        self.registry = PoolRegistry(self.store, host, "1.0")
        self.ownerships = Ownerships(self.client, host)
        limits = TenantLimits()
        self.built: list[CloudProviderService] = []
        self.context = ProviderContext(
            clock=cast(Any, clock),
            store=self.store,
            scanner=farm.scanner(clock),
            registry=self.registry,
            ownerships=self.ownerships,
            tenant_limits=limits,
            intervals=Intervals(cleanup=60.0),
        )
        self.providers = ProviderTree()
        self.reloader = Reloader(
            cast(Any, clock),
            self.providers,
            self.build,
            self.registry,
            self.ownerships,
            limits,
            DrainLedger(self.client),
        )
        self.min_ready = MinReady(
            cast(Any, clock),
            self.store,
            lambda: self.reloader.config or config,
            host,
            interval=60.0,
            random=Random(self.number).random,
        )
        self.launcher = Launcher(self.reloader, self.store, cast(Any, None), config)
        self.launcher.when_applied(self.min_ready.reconfigure)
        self.janitor = Janitor(
            cast(Any, clock),
            self.store,
            lambda: self.reloader.config or config,
            self.reloader.services,
            interval=60.0,
            lock_age=600.0,
        )
        self.root = OrderedService(cast(Any, clock), 10.0)
        for child in (
            SessionService(self.client),
            self.store,
            Presence(self.store, self.registry, self.ownerships, host, "1.0"),
            self.providers,
            self.launcher,
            self.janitor,
            self.min_ready,
        ):
            child.setServiceParent(self.root)
        self.root.startService()

    def build(self, config: ProviderConfig) -> CloudProviderService:
        if not isinstance(config, CloudProvider):
            config = CloudProvider(name=config.name, driver="memory")
        adapter = MortalAdapter(self.farm.clouds[config.name], self.clock)
        service = CloudProviderService(config, self.context, adapter, random=Random(self.number))
        self.built.append(service)
        return service

    def check(self) -> None:
        """At no time do two services that decide exist for one provider name."""
        deciding = (Phase.ACTIVE, Phase.DRAINING)
        names = Counter(service.name for service in self.built if service.phase in deciding)
        assert max(names.values(), default=0) <= 1, names

    def check_at_rest(self) -> None:
        """Nothing is being done, and nothing is remembered of what was."""
        assert self.client.state is SessionState.CONNECTED
        assert self.reloader.retiring() == (), "retired services stay"
        assert not self.reloader.running
        for name, service in self.reloader.services().items():
            left = service.status().tasks
            assert left == (), f"{name} of {self.host}: {left}"
            assert not len(service._launches)
            assert not len(service._removals)
            assert not service._housekeeping._marked
            assert not service._housekeeping._shunned
            assert not service._account.deletions.under_way()
            assert not service._account.poller.waiting
            for pool in service._pools:
                assert not pool.waiting, f"{name} of {self.host}: {pool.waits()}"
                taking = pool._hands._taking
                assert taking is not None
                assert not taking._requests
                assert not taking._refused
                assert not taking._following._by_request
                assert not taking._following._by_node
        assert not [n.id for n in self.store.nodes if self.store.nodes.is_reserved(n.id)]
        reservations = self.context.reservations
        assert not reservations.spoken_for()
        assert not reservations._expected
        assert not reservations._kept
        assert not reservations._keeping


@attrs.define
class Lease:
    """Nodes that a client has locked; ``stage`` is what it has done with them."""

    request_id: str
    nodes: tuple[str, ...]
    contenders: list[str]
    records: dict[str, Node]
    stage: str = "locked"


class Farm:
    """Everything there is, and what happens to it."""

    def __init__(self, latency: float = 0.0) -> None:
        self.clock = Clock()
        self.clock.advance(1_700_000_000)
        self.zookeeper = MemoryZookeeper(self.clock, latency=latency)
        self.inspector = self.zookeeper.inspector
        self.numbers = itertools.count(1)
        self.clouds = {
            name: MemoryCloud(
                self.clock,
                timing=Timing(answer=0.5, boot=20.0, delete=5.0),
                quota={"instances": quota},
                zones=zones,
            )
            for name, quota, zones in (("sky", 6, ("z1", "z2")), ("cave", math.inf, ("z1",)))
        }
        self.scanners: list[ServerScanner] = []
        self.processes: list[Process] = []
        self.dead: list[Process] = []
        self.leases: list[Lease] = []
        self.held: list[str] = []
        self.logged: list[LogEvent] = []
        self.failures: list[LogEvent] = []
        globalLogPublisher.addObserver(self._on_event)
        self.user = self.zookeeper.client()
        self.user.connect()
        self.settle()

    def _on_event(self, event: LogEvent) -> None:
        self.logged.append(event)
        if event.get("log_failure") is not None:
            self.failures.append(event)

    def scanner(self, clock: ProcessClock) -> ServerScanner:
        class AllClouds:
            """What answers, in whatever cloud it is."""

            @property
            def servers(_: object) -> dict[str, Any]:
                return {
                    f"{name} {each}": server
                    for name, cloud in self.clouds.items()
                    for each, server in cloud.servers.items()
                }

        scanner = ServerScanner(cast(Any, clock), cast(Any, AllClouds()))
        self.scanners.append(scanner)
        return scanner

    def close(self) -> None:
        """Stop everything that runs; it leaves nothing behind."""
        try:
            for process in (*self.processes, *self.dead):
                # Those that were killed as well: they would end noisily some time.
                process.clock.revive()
                self.inspector.resume(process.client)
                stopped = process.root.stopService()
                self.wait(30.0, 1.0)
                assert stopped.called, f"{process.host} does not stop"
                left = process.clock.getDelayedCalls()
                assert process in self.dead or not left, f"{process.host} leaves {left}"
                process.clock.bury()
            self.user.close()
            self.settle()
        finally:
            globalLogPublisher.removeObserver(self._on_event)

    # -- time ------------------------------------------------------------

    def settle(self) -> None:
        self.inspector.settle(self.clock, limit=RESTLESS)

    def wait(self, seconds: float, step: float = 1.0) -> None:
        end = self.clock.seconds() + seconds
        while (left := end - self.clock.seconds()) > 1e-6:
            self.clock.advance(min(step, left))
            self.settle()

    # -- launchers -------------------------------------------------------

    def start(self, host: str, config: Config) -> Process:
        process = Process(self, host, config)
        self.processes.append(process)
        return process

    def kill(self, process: Process) -> None:
        """kill -9: nothing more is heard of it, and its session ends in its time."""
        if process in self.processes:
            self.processes.remove(process)
            self.dead.append(process)
            process.clock.die()
            self.inspector.suspend(process.client)

    def kill_at(self, process: Process, requests: int, executed: bool) -> Callable[[], None]:
        """Kill it with its so manieth request to ZooKeeper from now on."""
        left = requests

        def hook(_: object) -> None:
            nonlocal left
            left -= 1
            if left == 0:
                call_off()
                self.kill(process)
                if not executed:
                    raise ConnectionLoss

        when = self.inspector.after if executed else self.inspector.before
        call_off = when("*", hook, client=process.client, times=None)
        return call_off

    def stop(self, process: Process) -> None:
        """In order; who takes long is killed as systemd does it."""
        stopped = process.root.stopService()
        self.processes.remove(process)
        self.settle()
        for _ in range(30):
            if not stopped.called:
                self.wait(1.0)
        if not stopped.called:
            self.processes.append(process)
            self.kill(process)
        else:
            left = process.clock.getDelayedCalls()
            assert not left, f"{process.host} leaves {left}"

    # -- looking ---------------------------------------------------------

    def nodes(self) -> dict[str, Node]:
        found = {}
        for path, data in self.inspector.dump(paths.NODES).items():
            parts = paths.below(paths.NODES, path)
            if len(parts) == 1:
                try:
                    found[parts[0]] = decode_node(parts[0], data)
                except Unreadable:
                    continue
        return found

    def requests(self) -> dict[str, NodeRequest]:
        below = self.inspector.dump(paths.REQUESTS + "/")
        ids = {path.rpartition("/")[2]: data for path, data in below.items()}
        return {request_id: decode_request(request_id, data) for request_id, data in ids.items()}

    def locked(self, node_id: str) -> bool:
        return bool(self.inspector.dump(f"{paths.node_lock(node_id)}/"))

    def request_locked(self, request_id: str) -> bool:
        return bool(self.inspector.dump(f"{paths.request_lock(request_id)}/"))

    # -- clients ---------------------------------------------------------

    def request(self, *labels: str, priority: float = 0.0, tenant: str | None = None) -> str:
        request = NodeRequest(
            state=RequestState.REQUESTED,
            state_time=self.clock.seconds(),
            created_time=self.clock.seconds(),
            node_types=labels,
            requestor="zuul",
            relative_priority=int(priority),
            tenant_name=tenant,
        )
        prefix = f"{paths.REQUESTS}/200-"
        path = self.inspector.create(prefix, encode_request(request), sequence=True)
        return path.rpartition("/")[2]

    def own(self, lease: Lease, node_id: str, **changes: Any) -> None:
        """Write a node that the client has locked."""
        node = attrs.evolve(self.nodes()[node_id], **changes)
        self.inspector.set(paths.node(node_id), encode_node(node))
        lease.records[node_id] = node

    def change_node(self, node_id: str, **changes: Any) -> None:
        node = attrs.evolve(self.nodes()[node_id], **changes)
        self.inspector.set(paths.node(node_id), encode_node(node))

    def accept(self, request_id: str) -> Lease | None:
        """Lock the nodes of a fulfilled request, as Zuul does; give it back if one is gone."""
        ids = self.requests()[request_id].nodes
        nodes = self.nodes()
        usable = all(
            node_id in nodes
            and nodes[node_id].allocated_to == request_id
            and nodes[node_id].state is NodeState.READY
            and not self.locked(node_id)
            for node_id in ids
        )
        if not usable:
            self.inspector.delete_tree(paths.request(request_id))
            return None
        contenders = [
            self.inspector.create(
                f"{paths.node_lock(node_id)}/{uuid4().hex}__lock__", owner=self.user, sequence=True
            )
            for node_id in ids
        ]
        lease = Lease(request_id, ids, contenders, {i: nodes[i] for i in ids})
        self.leases.append(lease)
        return lease

    def go_on(self, lease: Lease, outcome: NodeState = NodeState.USED) -> None:
        """Do the next thing that Zuul does with its nodes."""
        if lease.stage == "locked":
            self.inspector.delete_tree(paths.request(lease.request_id))
            lease.stage = "request deleted"
        elif lease.stage == "request deleted":
            for node_id in lease.nodes:
                self.own(lease, node_id, state=NodeState.IN_USE)
            lease.stage = "in use"
        elif lease.stage == "in use":
            for node_id in lease.nodes:
                self.own(lease, node_id, state=outcome, state_time=self.clock.seconds())
            lease.stage = outcome.value
        else:
            self.leases.remove(lease)
            if lease.stage == NodeState.HOLD.value:
                self.held += lease.nodes
            for contender in lease.contenders:
                self.inspector.delete(contender)

    def give_back(self, lease: Lease) -> None:
        while lease in self.leases:
            self.go_on(lease)

    def client_dies(self) -> None:
        """Its nodes are in nobody's hands, and what it has asked for is not wanted any more."""
        for lease in self.leases:
            if lease.stage == NodeState.HOLD.value:
                self.held += lease.nodes
        self.leases = []
        self.inspector.expire(self.user)
        for request in self.requests().values():
            if not request.is_min_ready:
                self.inspector.delete_tree(paths.request(request.id))

    def leased(self) -> set[str]:
        return {*self.held, *(node_id for lease in self.leases for node_id in lease.nodes)}

    # -- others ----------------------------------------------------------

    def foreign_deleter(self) -> None:
        """Delete what Nodepool 11 deletes: what nobody holds and has been returned."""
        for node in self.nodes().values():
            if node.state not in RETURNED_STATES or self.locked(node.id) or not node.provider:
                continue
            if node.external_id is not None:
                cloud = self.clouds[node.provider]
                if str(node.external_id) in cloud.servers:
                    cloud.delete(str(node.external_id))
            self.inspector.delete_tree(paths.node(node.id))

    # -- what must hold --------------------------------------------------

    def check(self) -> None:
        """What holds at any moment."""
        if self.failures:
            event = self.failures[0]
            raise AssertionError(
                f"{event.get('log_format')}: {event['log_failure'].getTraceback()}"
            )
        for process in self.processes:
            process.check()
        nodes, requests = self.nodes(), self.requests()
        given: Counter[str] = Counter()
        for lease in self.leases:
            for node_id, record in lease.records.items():
                given[node_id] += 1
                assert nodes.get(node_id) == record, f"{record} became {nodes.get(node_id)}"
        taken = {lease.request_id for lease in self.leases}
        for request in requests.values():
            if request.is_min_ready or request.id in taken:
                # What is made for the stock is promised to nobody.
                continue
            if request.state is RequestState.FULFILLED:
                assert len(request.nodes) == len(request.node_types)
                given.update(request.nodes)
        for node_id in self.held:
            given[node_id] += 1
            assert nodes[node_id].state is NodeState.HOLD
        assert max(given.values(), default=0) <= 1, f"a node was given twice: {given}"
        servers = Counter(
            (node.provider, node.external_id)
            for node in nodes.values()
            if node.state in (NodeState.READY, NodeState.IN_USE)
        )
        assert max(servers.values(), default=0) <= 1, f"two nodes have one server: {servers}"
        assert not [key for key in servers if key[1] is None], "a ready node has no server"

    def used(self, **fields: str) -> float:
        """Instances that count for what has these fields."""
        return sum(
            resources_of(node).get("instances", 0)
            for node in self.nodes().values()
            if all(getattr(node, key) == value for key, value in fields.items())
        )
