"""A pool on a ZooKeeper in memory, with its provider and its clients played by the test."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, TypeVar
from uuid import uuid4

import attrs
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from nodepool_tx.model import Node, NodeRequest, NodeState, PoolComponent, RequestState
from nodepool_tx.pools.admission import Admission
from nodepool_tx.pools.interface import NodeMaker, NodeSource, PoolSettings
from nodepool_tx.pools.registry import PoolRegistry
from nodepool_tx.pools.reservations import Reservations
from nodepool_tx.pools.service import PoolService
from nodepool_tx.pools.tenants import TenantLimits
from nodepool_tx.store import paths
from nodepool_tx.store.codec import (
    decode_component,
    decode_node,
    decode_request,
    encode_component,
    encode_node,
    encode_request,
)
from nodepool_tx.store.store import Store
from nodepool_tx.testing.zookeeper import MemoryClient, MemoryZookeeper

T = TypeVar("T")


def written(path: str) -> bool:
    """Tells transactions that write from those that only wait to be caught up."""
    return path != "/"


#: When the tests begin, in seconds since the epoch.
EPOCH = 1_700_000_000.0


class ZookeeperTestCase(SynchronousTestCase):
    """ZooKeeper as everyone sees it: nodes, requests, locks and components.

    What the test does to it is done at once; what the code under test does
    needs :meth:`settle`.
    """

    latency = 0.0

    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(EPOCH)
        self.zookeeper = MemoryZookeeper(self.clock, latency=self.latency)
        self.inspector = self.zookeeper.inspector
        #: Somebody else: Zuul, or another launcher.
        self.stranger = self.connected()
        for path in paths.SKELETON:
            self.done(self.stranger.ensure_path(path))

    def connected(self) -> MemoryClient:
        client = self.zookeeper.client()
        self.done(client.connect())
        return client

    def settle(self) -> None:
        self.inspector.settle(self.clock)

    def done(self, deferred: Deferred[T] | Coroutine[Any, Any, T]) -> T:
        """The result, once all that is under way was carried out."""
        if isinstance(deferred, Coroutine):
            deferred = Deferred.fromCoroutine(deferred)
        self.settle()
        return self.successResultOf(deferred)

    def make_store(self, client: MemoryClient | None = None) -> Store:
        """A running store of a process of its own."""
        store = Store(client or self.connected(), self.clock)
        store.startService()
        self.settle()
        self.assertTrue(store.current)
        return store

    # -- nodes -----------------------------------------------------------

    def add_node(self, *labels: str, **fields: Any) -> str:
        """A free node, unless told otherwise; returns its id."""
        values = {
            "state": NodeState.READY,
            "state_time": self.clock.seconds(),
            "provider": "rack",
            "pool": "main",
            "hostname": "host",
            **fields,
        }
        data = encode_node(Node(type=labels, **values))
        path = self.inspector.create(f"{paths.NODES}/", data, sequence=True)
        return path.rpartition("/")[2]

    def node(self, node_id: str) -> Node:
        path = paths.node(node_id)
        stat = self.inspector.stat(path)
        assert stat is not None, f"node {node_id} is gone"
        return decode_node(node_id, self.inspector.dump(path)[path], version=stat.version)

    def nodes(self) -> dict[str, Node]:
        """Every readable node, by id."""
        below = self.inspector.dump(paths.NODES)
        ids = [path.rpartition("/")[2] for path in below if path.count("/") == 3]
        return {node_id: self.node(node_id) for node_id in ids}

    def change_node(self, node_id: str, **changes: Any) -> None:
        node = attrs.evolve(self.node(node_id), **changes)
        self.inspector.set(paths.node(node_id), encode_node(node))

    def lock(self, directory: str, client: MemoryClient | None = None) -> str:
        """A lock, held by somebody else; returns the contender's path."""
        prefix = f"{directory}/{uuid4().hex}__lock__"
        return self.inspector.create(prefix, owner=client or self.stranger, sequence=True)

    def lock_node(self, node_id: str) -> str:
        return self.lock(paths.node_lock(node_id))

    def delete(self, path: str) -> None:
        self.inspector.delete_tree(path)

    # -- requests --------------------------------------------------------

    def add_request(self, *labels: str, precedence: int = 100, **fields: Any) -> str:
        """A request as Zuul writes one; returns its id."""
        values = {
            "state": RequestState.REQUESTED,
            "state_time": self.clock.seconds(),
            "created_time": self.clock.seconds(),
            "requestor": "zuul",
            **fields,
        }
        data = encode_request(NodeRequest(node_types=labels, **values))
        path = self.inspector.create(f"{paths.REQUESTS}/{precedence:03}-", data, sequence=True)
        return path.rpartition("/")[2]

    def request(self, request_id: str) -> NodeRequest:
        path = paths.request(request_id)
        stat = self.inspector.stat(path)
        assert stat is not None, f"request {request_id} is gone"
        return decode_request(request_id, self.inspector.dump(path)[path], version=stat.version)

    def state(self, request_id: str) -> str:
        return self.request(request_id).state.value

    def change_request(self, request_id: str, **changes: Any) -> None:
        request = attrs.evolve(self.request(request_id), **changes)
        self.inspector.set(paths.request(request_id), encode_request(request))

    def lock_request(self, request_id: str) -> str:
        return self.lock(paths.request_lock(request_id))

    def use_and_return(self, request_id: str) -> None:
        """Take the nodes of a fulfilled request as Zuul does, and make them free again."""
        node_ids = self.request(request_id).nodes
        contenders = [self.lock_node(node_id) for node_id in node_ids]
        self.delete(paths.request(request_id))
        for node_id in node_ids:
            self.change_node(node_id, state=NodeState.READY, allocated_to=None, tenant_name=None)
        for contender in contenders:
            self.delete(contender)
        self.settle()

    # -- components ------------------------------------------------------

    def add_pool(self, *labels: str, provider: str = "other", **fields: Any) -> PoolComponent:
        """A pool of another launcher, online."""
        component = PoolComponent(
            id=f"elsewhere-{uuid4().hex[:8]}",
            name="main",
            provider_name=provider,
            hostname="elsewhere",
            supported_labels=frozenset(labels),
            **fields,
        )
        prefix = paths.component("pool", "elsewhere")
        path = self.inspector.create(
            prefix, encode_component(component), owner=self.stranger, sequence=True
        )
        return attrs.evolve(component, path=path)

    def change_pool(self, pool: PoolComponent, **changes: Any) -> None:
        self.inspector.set(pool.path, encode_component(attrs.evolve(pool, **changes)))

    def components(self, kind: str = "pool") -> dict[str, Any]:
        """What is registered, by path."""
        root = f"{paths.COMPONENTS}/{kind}"
        return {
            path: decode_component(kind, data, path=path)
            for path, data in self.inspector.dump(root).items()
            if path != root
        }


class ScriptedSource:
    """Answers checks as the test says; without a word every node is fit.

    :ivar asked: the nodes checked so far, in order.
    :ivar held: the checks that have no answer yet, by node.
    :ivar given_up: the nodes whose checks were cancelled.
    :ivar on_unfit: what the provider does about a node that is not fit, before
        it says so.
    """

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.held: dict[str, Deferred[bool]] = {}
        self.given_up: list[str] = []
        self.on_unfit: Callable[[str], Deferred[None]] = lambda node_id: succeed(None)
        self._unfit: set[str] = set()
        self._holding = False

    def hold(self) -> None:
        """Answer no check before :meth:`answer`."""
        self._holding = True

    def let_go(self) -> None:
        """Hold nothing from now on, and answer what is held."""
        self._holding = False
        for node_id in tuple(self.held):
            self.answer(node_id)

    def make_unfit(self, *node_ids: str) -> None:
        self._unfit.update(node_ids)

    def answer(self, node_id: str) -> None:
        check = self.held.pop(node_id)
        self._answer(node_id).addCallback(check.callback)

    def check(self, node: Node) -> Deferred[bool]:
        self.asked.append(node.id)
        if not self._holding:
            return self._answer(node.id)
        assert node.id not in self.held, f"node {node.id} is checked twice at once"
        check: Deferred[bool] = Deferred(lambda _: self._give_up(node.id))
        self.held[node.id] = check
        return check

    def _answer(self, node_id: str) -> Deferred[bool]:
        if node_id not in self._unfit:
            return succeed(True)
        return self.on_unfit(node_id).addCallback(lambda _: False)

    def _give_up(self, node_id: str) -> None:
        self.given_up.append(node_id)
        self.held.pop(node_id, None)


_source: type[NodeSource] = ScriptedSource


@attrs.define
class Launcher:
    """One process: what its pools share."""

    client: MemoryClient
    store: Store
    registry: PoolRegistry
    limits: TenantLimits
    reservations: Reservations
    pools: list[PoolService] = attrs.field(factory=list)


class PoolTestCase(ZookeeperTestCase):
    """A pool ``main`` of provider ``rack`` with labels a, b and c.

    :ivar source: what it asks whether nodes are fit.
    """

    labels = frozenset("abc")

    def setUp(self) -> None:
        super().setUp()
        self.launcher = self.make_launcher()
        self.client, self.store = self.launcher.client, self.launcher.store
        self.limits = self.launcher.limits
        self.source = ScriptedSource()
        self.source.on_unfit = self.out_of_service
        self.pool = self.make_pool(source=self.source)
        self.settle()

    def make_launcher(self) -> Launcher:
        client = self.connected()
        store = self.make_store(client)
        limits = TenantLimits()
        registry = PoolRegistry(store, "host", "1.0")
        return Launcher(client, store, registry, limits, Reservations(store, limits))

    def make_pool(
        self,
        launcher: Launcher | None = None,
        *,
        source: ScriptedSource | None = None,
        admission: Admission | None = None,
        maker: NodeMaker | None = None,
        **settings: Any,
    ) -> PoolService:
        """A pool that runs."""
        launcher = launcher or self.launcher
        values = {"provider": "rack", "name": "main", "labels": self.labels, **settings}
        pool = PoolService(
            self.clock,
            launcher.store,
            launcher.registry,
            launcher.reservations,
            PoolSettings(**values),
            source or ScriptedSource(),
            admission or Admission(),
            maker,
        )
        pool.startService()
        self.addCleanup(pool.stopService)
        launcher.pools.append(pool)
        return pool

    def replace_pool(self, **settings: Any) -> PoolService:
        """The pool under test with other settings."""
        self.done(self.pool.stopService())
        self.pool = self.make_pool(source=self.source, **settings)
        self.settle()
        return self.pool

    def out_of_service(self, node_id: str) -> Deferred[None]:
        """What a provider does with a node that failed its check."""
        self.change_node(node_id, state=NodeState.DELETING)
        return Deferred.fromCoroutine(self.store.barrier())

    # -- asserting -------------------------------------------------------

    def assert_waits(self, *request_ids: str) -> None:
        for request_id in request_ids:
            request = self.request(request_id)
            self.assertEqual((request.state.value, request.nodes), ("requested", ()))
            self.assertNotIn(self.pool_id, request.declined_by)

    def assert_served(self, request_id: str, *node_ids: str) -> None:
        """It is fulfilled, with these nodes if any are named; they are promised to it."""
        request = self.request(request_id)
        self.assertEqual(request.state.value, "fulfilled")
        if node_ids:
            self.assertEqual(request.nodes, node_ids)
        self.assertEqual(len(request.nodes), len(request.node_types))
        for node_id, label in zip(request.nodes, request.node_types, strict=True):
            node = self.node(node_id)
            self.assertEqual((node.state.value, node.allocated_to), ("ready", request_id))
            self.assertIn(label, node.type)

    def assert_free(self, *node_ids: str) -> None:
        """In ZooKeeper, and for the pool."""
        for node_id in node_ids:
            node = self.node(node_id)
            self.assertEqual((node.state.value, node.allocated_to), ("ready", None))
            self.assertTrue(self.store.nodes.is_free(node_id))

    def assert_nothing_held(self) -> None:
        """No task, no reservation, no place and no promise is left over."""
        self.assertEqual(self.pool.in_flight(), ())
        for node in self.store.nodes:
            self.assertFalse(self.store.nodes.is_reserved(node.id))

    @property
    def pool_id(self) -> str:
        component = self.launcher.registry.get("rack", "main")
        assert component is not None
        return component.id
