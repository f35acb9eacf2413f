"""A test case on a ZooKeeper kept in memory, with time in its hands."""

from __future__ import annotations

import gc
from collections.abc import Coroutine
from typing import Any, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from nodepool_tx.testing.zookeeper import MemoryClient, MemoryZookeeper

T = TypeVar("T")


class MemoryZookeeperTestCase(SynchronousTestCase):
    """Clients that are connected, and requests that are carried out on demand."""

    latency = 0.0

    def setUp(self) -> None:
        self.clock = Clock()
        self.zookeeper = MemoryZookeeper(self.clock, latency=self.latency)
        self.inspector = self.zookeeper.inspector

    def tearDown(self) -> None:
        # So that a failure nobody handled is logged within the test it belongs to.
        gc.collect(1)

    def connected(self, chroot: str = "") -> MemoryClient:
        client = self.zookeeper.client(chroot)
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

    def fails(self, deferred: Deferred[Any] | Coroutine[Any, Any, Any], *errors: Any) -> Any:
        """The exception, once all that is under way was carried out."""
        if isinstance(deferred, Coroutine):
            deferred = Deferred.fromCoroutine(deferred)
        self.settle()
        return self.failureResultOf(deferred, *errors).value
