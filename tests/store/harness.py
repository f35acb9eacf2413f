"""A store over a ZooKeeper in memory, and somebody else who uses the same."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from nodepool_tx.model import Node, NodeRequest, NodeState, RequestState
from nodepool_tx.store import paths
from nodepool_tx.store.codec import decode_node, decode_request, encode_node, encode_request
from nodepool_tx.store.store import Store
from nodepool_tx.testing.zookeeper import MemoryZookeeper

__all__ = ["StoreTestCase", "ready_node", "waiting_request"]

T = TypeVar("T")


def ready_node(*labels: str, **changes: Any) -> Node:
    """A free node of the pool rack/main."""
    fields: dict[str, Any] = {
        "state": NodeState.READY,
        "provider": "rack",
        "pool": "main",
        "type": labels or ("small",),
    }
    return Node(**{**fields, **changes})


def waiting_request(*labels: str, **changes: Any) -> NodeRequest:
    return NodeRequest(
        **{"state": RequestState.REQUESTED, "node_types": labels or ("small",), **changes}
    )


class StoreTestCase(SynchronousTestCase):
    """A store that is current; ``put_*`` and ``lock_*`` are what others do.

    :cvar latency: of the connections, in seconds.
    """

    latency = 0.0

    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(1000)
        self.zookeeper = MemoryZookeeper(self.clock, latency=self.latency)
        self.inspector = self.zookeeper.inspector
        self.client = self.zookeeper.client()
        self.store = Store(self.client, self.clock)
        self.nodes = self.store.nodes
        self.requests = self.store.requests
        self.store.startService()
        self.client.connect()
        self.visitor = self.zookeeper.client()
        self.visitor.connect()
        self.settle()

    def tearDown(self) -> None:
        stopped = self.store.stopService()
        self.client.close()
        self.visitor.close()
        self.settle()
        self.successResultOf(stopped)

    def settle(self) -> None:
        self.inspector.settle(self.clock, limit=50_000)

    def run_until_done(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """The result of a coroutine that needs no time to pass."""
        deferred = Deferred.fromCoroutine(coroutine)
        self.settle()
        return self.successResultOf(deferred)

    def failure_of(self, coroutine: Coroutine[Any, Any, Any], *errors: type[Exception]) -> Any:
        """The exception it ends with."""
        deferred = Deferred.fromCoroutine(coroutine)
        self.settle()
        return self.failureResultOf(deferred, *errors).value

    # -- what others do

    def put_node(self, node: Node) -> Node:
        """Create a node; returns it as the table shows it."""
        path = self.inspector.create(paths.NODES + "/", encode_node(node), sequence=True)
        self.settle()
        return self.known_node(path.rpartition("/")[2])

    def known_node(self, node_id: str) -> Node:
        node = self.nodes.get(node_id)
        assert node is not None
        return node

    def put_request(self, request: NodeRequest) -> NodeRequest:
        path = self.inspector.create(
            f"{paths.REQUESTS}/200-", encode_request(request), sequence=True
        )
        self.settle()
        known = self.requests.get(path.rpartition("/")[2])
        assert known is not None
        return known

    def lock_node(self, node_id: str) -> str:
        """Take a node's lock; returns the contender's path."""
        path = f"{paths.node_lock(node_id)}/{'0' * 32}__lock__"
        return self.inspector.create(path, owner=self.visitor, sequence=True)

    def lock_request(self, request_id: str) -> str:
        path = f"{paths.request_lock(request_id)}/{'0' * 32}__lock__"
        return self.inspector.create(path, owner=self.visitor, sequence=True)

    # -- what ZooKeeper holds

    def node_there(self, node_id: str) -> Node | None:
        data = self.inspector.dump().get(paths.node(node_id))
        return None if data is None else decode_node(node_id, data)

    def request_there(self, request_id: str) -> NodeRequest | None:
        data = self.inspector.dump().get(paths.request(request_id))
        return None if data is None else decode_request(request_id, data)

    def exists(self, path: str) -> bool:
        return self.inspector.stat(path) is not None
