"""A provider that makes nodes as the test says, on a ZooKeeper in memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from twisted.internet.defer import Deferred

from nodepool_tx.model import Node, NodeRequest, NodeState
from nodepool_tx.pools.interface import NodeMaker, Objection
from nodepool_tx.pools.service import PoolService
from nodepool_tx.resources import Amounts
from nodepool_tx.store import paths
from nodepool_tx.store.change import Uncertain
from nodepool_tx.store.store import Store
from nodepool_tx.store.usage import Account
from nodepool_tx.txzookeeper.lock import Lock
from tests.pools.harness import Launcher, PoolTestCase

ONE: Amounts = {"instances": 1, "cores": 4, "ram": 8192}


class ScriptedMaker:
    """Makes nodes one step at a time, each step when the test asks for it.

    :ivar asked: the nodes that were to be made so far, in order.
    :ivar removed: the nodes that were to make room so far.
    :ivar quick: every node is ready as soon as it is asked for.
    """

    def __init__(self, store: Store, provider: str = "rack") -> None:
        self._store = store
        self.provider = provider
        self._locks: dict[str, Lock] = {}
        #: Nodes of which something is being written.
        self._busy: set[str] = set()
        self._observers: list[Callable[[], None]] = []
        self.asked: list[str] = []
        self.removed: list[str] = []
        self.quick = False
        self.label_needs: dict[str, Amounts | None] = {}
        self.limits: Amounts | None = {"instances": 10, "cores": 40}
        self.objections: dict[str, Objection] = {}
        self.zone: str | None = None
        self.errors: dict[str, str] = {}

    # -- what the test does ----------------------------------------------

    def tell(self) -> None:
        for observer in tuple(self._observers):
            observer()

    def can_go_on(self, node: Node) -> bool:
        """The node can be begun, or ended, now."""
        if node.id in self._busy or node.state not in (NodeState.INIT, NodeState.BUILDING):
            return False
        lock = self._locks.get(node.id)
        return node.state is NodeState.INIT if lock is None else lock.held

    async def begin(self, node_id: str) -> None:
        """Lock the node and write that it is being made."""
        self._busy.add(node_id)
        try:
            if node_id not in self._locks:
                lock = Lock(self._store.client, paths.node_lock(node_id))
                assert await lock.try_acquire() is not None
                self._locks[node_id] = lock
            await self._write(node_id, NodeState.BUILDING)
        finally:
            self._busy.discard(node_id)

    async def end(self, node_id: str, state: NodeState = NodeState.READY, **fields: Any) -> None:
        """Write how it ended, and let go of the node."""
        node = self._store.nodes.get(node_id)
        if node_id not in self._locks or (node and node.state is NodeState.INIT):
            await self.begin(node_id)
        self._busy.add(node_id)
        try:
            await self._write(node_id, state, release=True, **fields)
        finally:
            self._busy.discard(node_id)
        self.forget(node_id)

    async def _write(
        self, node_id: str, state: NodeState, *, release: bool = False, **fields: Any
    ) -> None:
        node = self._store.nodes.get(node_id)
        assert node is not None
        change = self._store.change()
        after = node.in_state(state, self._store.clock.seconds(), **fields)
        lock = self._locks[node_id]
        change.update_node(node, after, lock, release=release)
        try:
            await change.commit()
        except Uncertain:
            # Until it knows, a pool is told of a lock that may be nobody's.
            if release and not await lock.confirm():
                self.forget(node_id)
            raise

    def let_go(self, node_id: str) -> None:
        """Give the lock of a node up that somebody else has done away with."""
        self._locks.pop(node_id).release()

    def forget(self, node_id: str) -> None:
        """It is not ours any more."""
        self._locks.pop(node_id, None)

    async def remove(self, node_id: str) -> None:
        """Delete a node that nobody holds."""
        node = self._store.nodes.get(node_id)
        assert node is not None
        change = self._store.change()
        change.remove_node(node)
        await change.commit()

    # -- NodeMaker -------------------------------------------------------

    def objection(self, pool: str, labels: Sequence[str]) -> Objection | None:
        return next((self.objections[label] for label in labels if label in self.objections), None)

    def needs(self, pool: str, label: str) -> Amounts | None:
        return self.label_needs.get(label, ONE)

    def quota(self) -> Amounts | None:
        return self.limits

    def zone_for(self, pool: str, labels: Sequence[str]) -> str | None:
        return self.zone

    def draft(self, pool: str, label: str, request: NodeRequest, zone: str | None) -> Node:
        return Node(
            state=NodeState.INIT,
            state_time=self._store.clock.seconds(),
            created_time=self._store.clock.seconds(),
            provider=self.provider,
            pool=pool,
            type=(label,),
            allocated_to=request.id,
            tenant_name=request.tenant_name,
            requestor=request.requestor,
            az=zone,
        )

    def unclaimed(self, pool: str, label: str) -> Sequence[Node]:
        nodes = self._store.nodes
        return [
            node
            for node in sorted(nodes.of_provider(self.provider), key=lambda node: node.id)
            if (node.pool, node.state) == (pool, NodeState.BUILDING)
            and label in node.type
            and not node.allocated_to
            and (node.id in self._locks or not nodes.is_locked(node.id))
        ]

    def lock_of(self, node_id: str) -> Lock | None:
        return self._locks.get(node_id)

    def make(self, node_id: str, request: NodeRequest) -> None:
        assert node_id not in self.asked, f"node {node_id} is asked for twice"
        self.asked.append(node_id)
        if self.quick:
            Deferred.fromCoroutine(self.end(node_id))

    def why_failed(self, node_id: str) -> str:
        return self.errors.get(node_id, "")

    def make_room(self, nodes: Sequence[Node]) -> None:
        self.removed += [node.id for node in nodes]

    def subscribe(self, observer: Callable[[], None]) -> Callable[[], None]:
        self._observers.append(observer)
        return lambda: self._observers.remove(observer)


_maker: type[NodeMaker] = ScriptedMaker


class MakingTestCase(PoolTestCase):
    """A pool ``main`` of provider ``rack``, whose provider makes nodes.

    Ten instances of four cores each are allowed.
    """

    def setUp(self) -> None:
        super().setUp()
        self.done(self.pool.stopService())
        self.maker = ScriptedMaker(self.store)
        self.pool = self.make_making_pool()
        self.settle()

    def make_making_pool(
        self, launcher: Launcher | None = None, maker: ScriptedMaker | None = None, **settings: Any
    ) -> PoolService:
        return self.make_pool(launcher, source=self.source, maker=maker or self.maker, **settings)

    def replace_pool(self, **settings: Any) -> PoolService:
        self.done(self.pool.stopService())
        self.pool = self.make_making_pool(**settings)
        self.settle()
        return self.pool

    def nodes_for(self, request_id: str) -> list[str]:
        """The nodes promised to a request, in order of their ids."""
        return sorted(n.id for n in self.nodes().values() if n.allocated_to == request_id)

    def ready(self, *node_ids: str, state: NodeState = NodeState.READY, **fields: Any) -> None:
        """The maker is done with these."""
        for node_id in node_ids:
            self.done(self.maker.end(node_id, state, **fields))

    def remove(self, *node_ids: str) -> None:
        for node_id in node_ids:
            self.done(self.maker.remove(node_id))

    def launched(self, *labels: str, **fields: Any) -> str:
        """A request that got its nodes made, in a client's hands since."""
        request_id = self.add_request(*labels, **fields)
        self.settle()
        self.ready(*self.nodes_for(request_id))
        self.assert_served(request_id)
        return request_id

    def give_back(self, request_id: str) -> None:
        """The client is done with its nodes, and they are deleted."""
        node_ids = self.request(request_id).nodes
        self.delete(paths.request(request_id))
        for node_id in node_ids:
            self.delete(paths.node(node_id))
        self.settle()

    def used(self, account: Account) -> Amounts:
        return self.launcher.reservations.used(account)

    def assert_nothing_held(self) -> None:
        """No task, no reservation, no place, no promise and no lock is left over."""
        super().assert_nothing_held()
        for account in (Account.of_provider("rack"), Account.of_pool("rack", "main")):
            in_table = self.store.nodes.usage.used(account)
            self.assertEqual(dict(self.used(account)), dict(in_table))
        below = self.inspector.dump(paths.REQUEST_LOCKS)
        self.assertEqual([path for path in below if path.count("/") == 4], [])


__all__ = ["ONE", "MakingTestCase", "ScriptedMaker"]
