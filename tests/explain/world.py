"""Launchers that answer, and somebody who asks, on a ZooKeeper in memory."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from nodepool_tx.config.schema import Config, StaticProvider
from nodepool_tx.explain import Answers, Explanation, ask
from nodepool_tx.explain.questions import launcher_id
from nodepool_tx.launcher import Presence
from nodepool_tx.model import ComponentState, LauncherComponent, PoolComponent
from nodepool_tx.providers.static.service import StaticProviderService
from nodepool_tx.store import paths
from nodepool_tx.store.codec import encode_component
from nodepool_tx.store.store import Store
from nodepool_tx.testing.zookeeper import MemoryClient
from tests.providers.static.stage import Launcher, StageTestCase
from tests.providers.static.values import KEYS, static_node, static_pool, static_provider

__all__ = ["ChannelTestCase", "Process"]


class Process:
    """A launcher that answers."""

    def __init__(self, launcher: Launcher, name: str, config: StaticProvider | None) -> None:
        self.launcher = launcher
        self.store = launcher.store
        self.presence = Presence(
            launcher.store, launcher.registry, launcher.ownerships, name, "1.0"
        )
        self.services: list[StaticProviderService] = []
        self.answers = Answers(
            launcher.store, lambda: self.services, lambda: launcher_id(self.presence.path)
        )
        for service in (self.presence, self.answers):
            service.setServiceParent(launcher.root)
        if config is not None:
            self.services.append(launcher.provide(config))

    @property
    def id(self) -> str:
        return launcher_id(self.presence.path)


class ChannelTestCase(StageTestCase):
    """Somebody who asks: a store of its own.

    Provider ``rack`` has one machine, web1, with label a.
    """

    def setUp(self) -> None:
        super().setUp()
        self.inspector = self.stage.inspector
        self.hosts.add("web1", keys=KEYS)
        self.client: MemoryClient = self.stage.zookeeper.client()
        self.client.connect()
        self.store = Store(self.client, self.clock)
        self.store.startService()
        self.stage.settle()
        self.addCleanup(self.leave)

    def leave(self) -> None:
        self.store.stopService()
        self.client.close()
        self.stage.settle()

    def config(self, name: str = "rack", host: str = "web1", label: str = "a") -> StaticProvider:
        return static_provider(
            static_pool(static_node(host, labels=(label,)), provider=name), name=name
        )

    def process(self, name: str, config: StaticProvider | None = None) -> Process:
        process = Process(self.launcher(name), name, config)
        self.stage.settle()
        return process

    def register_elsewhere(self, host: str, *labels: str, provider: str = "old") -> str:
        """A launcher of Nodepool 11 with one pool; what the launcher is registered as."""
        launcher = LauncherComponent(
            kind="launcher", hostname=host, state=ComponentState.RUNNING, version="11.0.0"
        )
        pool = PoolComponent(
            id=f"{host}-PoolWorker.{provider}-main-0",
            name="main",
            provider_name=provider,
            hostname=host,
            supported_labels=frozenset(labels),
        )
        found = [
            self.inspector.create(
                paths.component(each.kind, host),
                encode_component(each),
                owner=self.stage.visitor,
                sequence=True,
            )
            for each in (pool, launcher)
        ]
        self.stage.settle()
        return launcher_id(found[-1])

    def occupy(self) -> None:
        """All nodes are in use."""
        for node in self.stage.nodes():
            self.stage.use(node.id)

    def begin(self, request_id: str, config: Config | None = None) -> Deferred[Explanation | None]:
        """Ask, and let that go as far as it does at once."""
        self.stage.settle()
        asking = Deferred.fromCoroutine(ask(self.store, request_id, config=config))
        self.stage.settle()
        return asking

    def ask(self, request_id: str, config: Config | None = None) -> Explanation:
        """Ask, and wait as long as that takes."""
        asking = self.begin(request_id, config)
        if not asking.called:
            self.stage.wait(3)
        found: Any = self.successResultOf(asking)
        if isinstance(found, Failure):
            found.raiseException()
        assert found is not None
        explanation: Explanation = found
        return explanation

    def questions(self) -> list[str]:
        """What is in ZooKeeper of questions and answers."""
        return [path for path in self.inspector.dump(paths.QUESTIONS) if path != paths.QUESTIONS]
