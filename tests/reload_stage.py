"""Provider services that do what a test says, and a reloader that moves them about."""

from __future__ import annotations

from typing import Any

import attrs
from twisted.application.service import Service
from twisted.internet.defer import Deferred, succeed

from nodepool_tx.config.frozen import FrozenMapping
from nodepool_tx.config.schema import Config, PoolConfig, ProviderConfig
from nodepool_tx.pools.explaining import PoolExplanation, Reason
from nodepool_tx.pools.registry import PoolRegistry
from nodepool_tx.pools.tenants import TenantLimits
from nodepool_tx.providers.drains import DrainLedger
from nodepool_tx.providers.interface import Phase, ProviderService, ProviderStatus
from nodepool_tx.providers.ownership import Ownerships
from nodepool_tx.providers.tree import ProviderTree
from nodepool_tx.reload import Reloader
from nodepool_tx.work import shielded
from tests.pools.harness import ZookeeperTestCase


def provider(name: str, version: int = 1, pools: str = "main") -> ProviderConfig:
    """A provider's configuration; ``version`` tells one from another."""
    return ProviderConfig(
        name=name,
        driver="scripted",
        max_concurrency=version,
        pools=tuple(
            PoolConfig(name=pool, provider_name=name, labels=frozenset({f"{name}-{version}"}))
            for pool in pools.split()
        ),
    )


def config(*providers: ProviderConfig, **fields: Any) -> Config:
    return Config(providers=FrozenMapping({p.name: p for p in providers}), **fields)


class ScriptedService(Service):
    """One object of a provider; writes all that happens to it into the stage's diary.

    ``idling``, ``stopping`` and ``drained`` are what it makes others wait for;
    an exception there is raised.
    """

    name: str

    def __init__(self, config: ProviderConfig, stage: ReloadTestCase) -> None:
        self.setName(config.name)
        self.config = config
        self.stage = stage
        self.phase = Phase.NEW
        self.tasks: tuple[tuple[str, float], ...] = ()
        self.waiting: tuple[str, ...] = ()
        self.troubles: tuple[str, ...] = ()
        self.starting: Exception | None = None
        self.idling: Deferred[None] | Exception | None = None
        self.retiring: Deferred[None] | None = None
        self.stopping: Deferred[None] | Exception | None = None
        self.drained: Deferred[None] = Deferred()
        self.wants_drain = False

    def __repr__(self) -> str:
        return f"{self.name}/{self.config.max_concurrency}"

    def _write(self, what: str) -> None:
        self.stage.diary.append(f"{what} {self!r}")
        self.stage.assert_one_of_each()

    def startService(self) -> None:
        super().startService()
        self.phase = Phase.DRAINING if self.wants_drain else Phase.ACTIVE
        self._write("start")
        for pool in self.config.pools:
            self.stage.registry.show(self.name, pool.name, pool.labels, 100)
        self.stage.ownerships.of(self.name)
        if self.starting is not None:
            raise self.starting

    def stopService(self) -> Deferred[None]:
        super().stopService()
        self.phase = Phase.STOPPED
        self._write("stop")
        return self._wait(self.stopping, "stopped")

    def idle(self) -> Deferred[None]:
        self.phase = Phase.IDLE
        self._write("idle")
        return self._wait(self.idling, "in flight done")

    def retired(self) -> Deferred[None]:
        return shielded(self.retiring) if self.retiring is not None else succeed(None)

    def resume(self) -> None:
        if self.phase is Phase.IDLE:
            self.phase = Phase.DRAINING if self.wants_drain else Phase.ACTIVE
        self._write("resume")

    def drain(self) -> Deferred[None]:
        self.wants_drain = True
        self.phase = Phase.DRAINING
        self._write("drain")
        waiter: Deferred[None] = Deferred()
        self.drained.addCallback(lambda _: waiter.callback(None))
        return waiter

    def status(self) -> ProviderStatus:
        return ProviderStatus(
            name=self.name,
            driver="scripted",
            phase=self.phase,
            owner=True,
            tasks=self.tasks,
            details={},
            waiting=self.waiting,
            troubles=self.troubles,
        )

    def explain(self, request_id: str) -> tuple[PoolExplanation, ...]:
        return ()

    def reasons(self, request_id: str) -> tuple[Reason, ...]:
        return ()

    def _wait(self, event: Deferred[None] | Exception | None, then: str) -> Deferred[None]:
        if isinstance(event, Exception):
            raise event
        return (event or succeed(None)).addCallback(lambda _: self._write(then))


_service: type[ProviderService] = ScriptedService


@attrs.define
class Script:
    """What is to become of services that are not built yet, by provider and version."""

    building: dict[str, Exception] = attrs.field(factory=dict)
    starting: dict[str, Exception] = attrs.field(factory=dict)
    stopping: dict[str, Exception] = attrs.field(factory=dict)


class ReloadTestCase(ZookeeperTestCase):
    """A reloader over scripted services.

    :ivar built: every service ever built, in order.
    """

    def setUp(self) -> None:
        super().setUp()
        self.diary: list[str] = []
        self.built: list[ScriptedService] = []
        self.script = Script()
        self.start_process()

    def start_process(self) -> None:
        """A new process, with a new session."""
        self.client = self.connected()
        self.store = self.make_store(self.client)
        self.registry = PoolRegistry(self.store, "host", "1.0")
        self.ownerships = Ownerships(self.client, "host:1")
        self.limits = TenantLimits()
        self.ledger = DrainLedger(self.client)
        self.providers = ProviderTree()
        self.providers.startService()
        self.reloader = Reloader(
            self.clock,
            self.providers,
            self.build,
            self.registry,
            self.ownerships,
            self.limits,
            self.ledger,
        )

    def build(self, config: ProviderConfig) -> ScriptedService:
        service = ScriptedService(config, self)
        if error := self.script.building.get(repr(service)):
            raise error
        service.starting = self.script.starting.get(repr(service))
        service.stopping = self.script.stopping.get(repr(service))
        self.built.append(service)
        self.diary.append(f"build {service!r}")
        return service

    def apply(self, *providers: ProviderConfig, **fields: Any) -> Deferred[None]:
        """Begin a reload, and let all happen that the test holds no Deferred of."""
        applied = self.reloader.apply(config(*providers, **fields))
        self.settle()
        return applied

    def applied(self, *providers: ProviderConfig, **fields: Any) -> None:
        """A whole reload; the diary begins after it."""
        self.successResultOf(self.apply(*providers, **fields))
        self.diary.clear()

    def service(self, name: str) -> ScriptedService:
        service = self.providers.getServiceNamed(name)
        assert isinstance(service, ScriptedService)
        return service

    def running(self) -> list[str]:
        """The services in the tree that are not idle."""
        return sorted(repr(s) for s in self.providers if s.phase in (Phase.ACTIVE, Phase.DRAINING))

    def assert_one_of_each(self) -> None:
        """At no time do two services that are not idle exist for one provider name."""
        busy = [s.name for s in self.built if s.phase in (Phase.ACTIVE, Phase.DRAINING)]
        self.assertEqual(len(set(busy)), len(busy), self.diary)

    def pools(self) -> list[str]:
        return sorted(f"{p.provider_name}/{p.name}" for p in self.components().values())
