"""A whole launcher in memory, and everyone around it: machines, clients, operators, time."""

from __future__ import annotations

from collections import Counter
from typing import Any
from uuid import uuid4

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import LogEvent, globalLogPublisher

from nodepool_tx.config.frozen import thaw
from nodepool_tx.config.schema import Config, ProviderConfig, StaticPool, StaticProvider
from nodepool_tx.janitor import Janitor
from nodepool_tx.launcher import Presence
from nodepool_tx.model import Node, NodeRequest, NodeState, RequestState
from nodepool_tx.pools.registry import PoolRegistry
from nodepool_tx.pools.tenants import TenantLimits
from nodepool_tx.providers.drains import DrainLedger
from nodepool_tx.providers.interface import Intervals, Phase, ProviderContext
from nodepool_tx.providers.ownership import Ownerships
from nodepool_tx.providers.static.service import StaticProviderService
from nodepool_tx.providers.tree import ProviderTree
from nodepool_tx.reload import Reloader
from nodepool_tx.store import paths
from nodepool_tx.store.codec import (
    decode_component,
    decode_node,
    decode_request,
    encode_node,
    encode_request,
)
from nodepool_tx.store.store import Store
from nodepool_tx.testing.scanner import MemoryHosts, MemoryScanner
from nodepool_tx.testing.zookeeper import MemoryZookeeper

#: Requests to ZooKeeper after which a world that does not come to rest is broken.
RESTLESS = 100_000


class Process:
    """One run of a launcher: its session, its store, its providers."""

    def __init__(self, world: World, config: Config) -> None:
        self.world = world
        clock = world.clock
        self.client = world.zookeeper.client()
        self.store = Store(self.client, clock)
        self.registry = PoolRegistry(self.store, "host", "1.0")
        self.ownerships = Ownerships(self.client, f"host:{len(world.processes)}")
        self.limits = TenantLimits()
        self.built: list[WatchedService] = []
        self.context = ProviderContext(
            clock=clock,
            store=self.store,
            scanner=MemoryScanner(clock, world.hosts),
            registry=self.registry,
            ownerships=self.ownerships,
            tenant_limits=self.limits,
            intervals=Intervals(cleanup=60.0),
        )
        self.ledger = DrainLedger(self.client)
        self.providers = ProviderTree()
        self.reloader = Reloader(
            clock,
            self.providers,
            self.build,
            self.registry,
            self.ownerships,
            self.limits,
            self.ledger,
        )
        self.presence = Presence(self.store, self.registry, self.ownerships, "host", "1.0")
        self.janitor = Janitor(
            clock,
            self.store,
            lambda: self.reloader.config or config,
            self.reloader.services,
            interval=60.0,
            lock_age=3600.0,
        )
        self.services = (self.store, self.presence, self.providers, self.janitor)
        for service in self.services:
            service.startService()
        self.client.connect()
        self.reloader.apply(config)
        world.settle()
        self.resumed = Deferred.fromCoroutine(self.reloader.resume_drains())

    def build(self, config: ProviderConfig) -> WatchedService:
        if not isinstance(config, StaticProvider):
            config = StaticProvider(name=config.name, driver="static")
        service = WatchedService(config, self.context)
        service.process = self
        self.built.append(service)
        return service

    def stop(self) -> Deferred[Any]:
        """Stop in order."""

        async def stop() -> None:
            await self.janitor.stopService()
            await self.reloader.stop()
            await self.providers.stopService()
            await self.presence.stopService()
            await self.store.stopService()
            await self.client.close()

        return Deferred.fromCoroutine(stop())

    def busy(self) -> list[str]:
        """The services that are not idle, wherever they are."""
        return [
            service.name
            for service in self.built
            if service.phase in (Phase.ACTIVE, Phase.DRAINING) or service.in_flight()
        ]

    def check(self) -> None:
        """At no time do two services that are not idle exist for one provider name.

        One that still has something in flight is not idle, whatever it says.
        """
        assert max(Counter(self.busy()).values(), default=0) <= 1, self.busy()


class WatchedService(StaticProviderService):
    """The real thing; looks around whenever it becomes active."""

    process: Process

    def in_flight(self) -> bool:
        """What its status tells, without all the rest of it."""
        pools = any(pool.in_flight() for pool in self._pools)
        return pools or bool(self._reconciler.tasks() or self._handout.tasks())

    def startService(self) -> None:
        super().startService()
        self.process.check()

    def resume(self) -> None:
        super().resume()
        self.process.check()


@attrs.define
class Lease:
    """Nodes that a client has locked; ``stage`` counts what it has done with them."""

    request_id: str
    nodes: tuple[str, ...]
    contenders: list[str]
    stage: str = "locked"


class World:
    """Everything there is, and what happens to it.

    :ivar leases: what clients have in their hands.
    :ivar held: nodes that people keep.
    """

    def __init__(self, hosts: tuple[str, ...]) -> None:
        self.clock = Clock()
        self.clock.advance(1_700_000_000)
        self.zookeeper = MemoryZookeeper(self.clock)
        self.inspector = self.zookeeper.inspector
        self.hosts = MemoryHosts()
        self._machines = hosts
        for name in hosts:
            self.hosts.add(name, keys=(f"ssh-ed25519 {name}",))
        self.failures: list[LogEvent] = []
        globalLogPublisher.addObserver(self._on_event)
        self.user = self.zookeeper.client()
        self.user.connect()
        self.processes: list[Process] = []
        self.leases: list[Lease] = []
        self.held: list[str] = []

    def close(self) -> None:
        globalLogPublisher.removeObserver(self._on_event)

    def _on_event(self, event: LogEvent) -> None:
        if event.get("log_failure") is not None:
            self.failures.append(event)

    @property
    def process(self) -> Process:
        return self.processes[-1]

    def start(self, config: Config) -> None:
        self.processes.append(Process(self, config))
        self.settle()

    # -- time ------------------------------------------------------------

    def settle(self) -> None:
        self.inspector.settle(self.clock, limit=RESTLESS)

    def wait(self, seconds: float, step: float = 5.0) -> None:
        end = self.clock.seconds() + seconds
        while (left := end - self.clock.seconds()) > 0:
            self.clock.advance(min(step, left))
            self.settle()

    # -- looking ---------------------------------------------------------

    def nodes(self) -> dict[str, Node]:
        below = self.inspector.dump(paths.NODES)
        ids = {
            path.rpartition("/")[2]: data for path, data in below.items() if path.count("/") == 3
        }
        return {node_id: decode_node(node_id, data) for node_id, data in ids.items()}

    def requests(self) -> dict[str, NodeRequest]:
        below = self.inspector.dump(paths.REQUESTS + "/")
        ids = {path.rpartition("/")[2]: data for path, data in below.items()}
        return {request_id: decode_request(request_id, data) for request_id, data in ids.items()}

    def free(self) -> list[str]:
        """Nodes that nobody has or was promised."""
        return sorted(
            node.id
            for node in self.nodes().values()
            if node.state is NodeState.READY and not node.allocated_to and not self.locked(node.id)
        )

    def locked(self, node_id: str) -> bool:
        return bool(self.inspector.dump(f"{paths.node_lock(node_id)}/"))

    def pools(self) -> list[tuple[str, str]]:
        root = f"{paths.COMPONENTS}/pool"
        found = []
        for path, data in self.inspector.dump(f"{root}/").items():
            pool: Any = decode_component("pool", data, path=path)
            found.append((pool.provider_name, pool.name))
        return sorted(found)

    def draining(self) -> list[str]:
        """What is noted in the ledger."""
        return [path.rpartition("/")[2] for path in self.inspector.dump(f"{paths.DRAINING}/")]

    # -- clients ---------------------------------------------------------

    def request(self, *labels: str, priority: int = 100) -> str:
        request = NodeRequest(
            state=RequestState.REQUESTED,
            state_time=self.clock.seconds(),
            created_time=self.clock.seconds(),
            node_types=labels,
            requestor="zuul",
        )
        prefix = f"{paths.REQUESTS}/{priority}-"
        path = self.inspector.create(prefix, encode_request(request), sequence=True)
        return path.rpartition("/")[2]

    def change_node(self, node_id: str, **changes: Any) -> None:
        node = attrs.evolve(self.nodes()[node_id], **changes)
        self.inspector.set(paths.node(node_id), encode_node(node))

    def lock(self, node_id: str) -> str:
        prefix = f"{paths.node_lock(node_id)}/{uuid4().hex}__lock__"
        return self.inspector.create(prefix, owner=self.user, sequence=True)

    def accept(self, request_id: str) -> None:
        """Lock the nodes of a fulfilled request; it is deleted afterwards."""
        nodes = self.requests()[request_id].nodes
        self.leases.append(Lease(request_id, nodes, [self.lock(node_id) for node_id in nodes]))

    def go_on(self, lease: Lease, outcome: NodeState = NodeState.USED) -> None:
        """Do the next thing that Zuul does with its nodes."""
        if lease.stage == "locked":
            self.inspector.delete_tree(paths.request(lease.request_id))
            lease.stage = "request deleted"
        elif lease.stage == "request deleted":
            for node_id in lease.nodes:
                self.change_node(node_id, state=NodeState.IN_USE)
            lease.stage = "in use"
        elif lease.stage == "in use":
            for node_id in lease.nodes:
                self.change_node(node_id, state=outcome)
            lease.stage = outcome.value
        else:
            self.unlock(lease)

    def unlock(self, lease: Lease) -> None:
        self.leases.remove(lease)
        if lease.stage == NodeState.HOLD.value:
            self.held += lease.nodes
        for contender in lease.contenders:
            self.inspector.delete(contender)

    def give_back(self, lease: Lease) -> None:
        """All the rest, at once."""
        while lease in self.leases:
            self.go_on(lease)

    def unhold(self, node_id: str) -> None:
        self.held.remove(node_id)
        self.change_node(node_id, state=NodeState.DELETING)

    def client_dies(self) -> None:
        """The client's session ends: its nodes are in nobody's hands."""
        for lease in self.leases:
            if lease.stage == NodeState.HOLD.value:
                self.held += lease.nodes
        self.leases = []
        self.inspector.expire(self.user)
        self.settle()

    # -- launchers -------------------------------------------------------

    def kill(self, executes: int) -> None:
        """The process is gone; a few of its requests may still happen."""
        self.inspector.suspend(self.process.client, executes=executes)

    def restart(self, config: Config) -> None:
        stopped = self.process.stop()
        self.settle()
        # Whoever waits for a machine does so until its time is over.
        self.wait(20.0)
        assert stopped.called
        self.start(config)

    # -- what must hold --------------------------------------------------

    def check(self) -> None:
        """What holds at any moment."""
        assert not self.failures, self.failures[0]
        self.process.check()
        nodes, requests = self.nodes(), self.requests()
        given: Counter[str] = Counter()
        taken = {lease.request_id: lease for lease in self.leases}
        for request in requests.values():
            if request.state is RequestState.FULFILLED and request.id not in taken:
                given.update(request.nodes)
                self._check_promised(request, nodes)
        for lease in self.leases:
            given.update(lease.nodes)
            for node_id in lease.nodes:
                assert nodes[node_id].allocated_to == lease.request_id, lease
                if lease.stage in ("in use", "used", "hold"):
                    assert nodes[node_id].state.value.replace("-", " ") == lease.stage
        for node_id in self.held:
            given[node_id] += 1
            assert nodes[node_id].state is NodeState.HOLD
        assert max(given.values(), default=0) <= 1, "a node was given twice"
        serving = (NodeState.READY, NodeState.IN_USE)
        slots = Counter(
            (node.provider, node.identity, node.slot)
            for node in nodes.values()
            if node.state in serving
        )
        assert max(slots.values(), default=0) <= 1, "a slot has two nodes"

    def _check_promised(self, request: NodeRequest, nodes: dict[str, Node]) -> None:
        """A request that was told of its nodes has them, of the labels it asked for."""
        assert len(request.nodes) == len(request.node_types)
        for node_id, label in zip(request.nodes, request.node_types, strict=True):
            node = nodes[node_id]
            assert (node.state, node.allocated_to) == (NodeState.READY, request.id), node
            assert label in node.type

    def mend_machines(self) -> None:
        for name in self._machines:
            self.hosts.release(name)
            self.hosts.bring_up(name)

    def mend(self) -> None:
        """End all trouble, bring everything back, and wait until that has been noticed."""
        self.mend_machines()
        self.inspector.resume(self.process.client)
        self.inspector.resume(self.user)
        for lease in tuple(self.leases):
            self.give_back(lease)
        for node_id in tuple(self.held):
            self.unhold(node_id)
        for request_id in self.requests():
            self.inspector.delete_tree(paths.request(request_id))
        self.settle()
        self.wait(200.0)

    def check_settled(self, config: Config) -> None:
        """ZooKeeper holds exactly what the configuration says."""
        process = self.process
        assert not process.reloader.running
        services = process.reloader.services()
        same("providers", {n: s.config for n, s in services.items()}, dict(config.providers))
        same("phases", {s.phase for s in services.values()} - {Phase.ACTIVE}, set())
        same("tasks", [task for s in services.values() for task in s.status().tasks], [])
        nodes = self.nodes()
        same("nodes", sorted(map(_shown, nodes.values())), sorted(_wanted(config)))
        for node in nodes.values():
            free = (NodeState.READY, None, None)
            same(f"node {node.id}", (node.state, node.allocated_to, node.tenant_name), free)
            assert not self.locked(node.id), f"node {node.id} is locked"
            assert process.store.nodes.is_free(node.id), f"node {node.id} is not free"
        same("pools", self.pools(), sorted((p.provider_name, p.name) for p in config.pools))
        same("ledger", self.draining(), [])
        owned = {
            path.split("/")[-2]
            for path in self.inspector.dump(f"{paths.OWNERS}/")
            if "__lock__" in path
        }
        same("owned", owned, set(config.providers))

    def check_serves(self, config: Config) -> None:
        """Every label that is configured can be had."""
        labels = sorted({label for pool in config.pools for label in pool.labels})
        for label in labels:
            request_id = self.request(label)
            self.settle()
            self.wait(10.0)
            assert self.requests()[request_id].state is RequestState.FULFILLED, label
            self.accept(request_id)
            self.give_back(self.leases[-1])
            self.settle()


def same(what: str, found: object, expected: object) -> None:
    assert found == expected, f"{what}: {found!r} instead of {expected!r}"


def _wanted(config: Config) -> list[tuple[str, ...]]:
    """Every slot that the configuration asks for, as :func:`_shown` shows it."""
    return [
        (
            provider.name,
            pool.name,
            node.name,
            str(slot),
            " ".join(node.labels),
            repr(thaw(pool.node_attributes) if pool.node_attributes is not None else None),
            f"{node.username} {node.connection_port} {node.connection_type}",
            f"ssh-ed25519 {node.name}",
        )
        for provider in config.providers.values()
        for pool in provider.pools
        if isinstance(pool, StaticPool)
        for node in pool.nodes
        for slot in range(node.max_parallel_jobs)
    ]


def _shown(node: Node) -> tuple[str, ...]:
    return (
        str(node.provider),
        str(node.pool),
        str(node.hostname),
        str(node.slot),
        " ".join(node.type),
        repr(node.attributes),
        f"{node.username} {node.connection_port} {node.connection_type}",
        " ".join(node.host_keys),
    )
