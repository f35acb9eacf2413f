"""The ZooKeeper kept in memory keeps the contract of every ZooKeeper client."""

from __future__ import annotations

from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred, succeed
from twisted.trial.unittest import TestCase

from nodepool_tx.testing.zookeeper import MemoryClient, MemoryZookeeper
from tests.contract.zookeeper import ZookeeperContract


class MemoryZookeeperContractTests(ZookeeperContract, TestCase):
    """Without latency: answers come in the next reactor turn."""

    latency = 0.0

    def setUp(self) -> None:
        clock: Any = reactor
        self.zookeeper = MemoryZookeeper(clock, latency=self.latency)
        self.zookeeper.inspector.create("/test")

    def make_client(self, chroot: str = "") -> MemoryClient:
        return self.zookeeper.client("/test" + chroot)

    def expire(self, client: Any) -> Deferred[None]:
        self.zookeeper.inspector.expire(client)
        return succeed(None)

    def cut(self, client: Any) -> None:
        self.zookeeper.inspector.cut(client)


class SlowMemoryZookeeperContractTests(MemoryZookeeperContractTests):
    """With latency: requests of several clients overlap."""

    latency = 0.001
