"""The launcher itself: what answers requests."""

from __future__ import annotations

import socket
from typing import Any

import attrs
from twisted.internet.defer import succeed

from nodepool_tx import __version__
from nodepool_tx.config.operations import Operations
from nodepool_tx.config.schema import Config
from nodepool_tx.config.watch import ConfigWatcher
from nodepool_tx.embedded.runtime import find_runtime
from nodepool_tx.embedded.service import EmbeddedZookeeper
from nodepool_tx.events import Events
from nodepool_tx.janitor import Janitor
from nodepool_tx.launcher import Launcher, Presence, Session, connection_string
from nodepool_tx.minready.service import MinReady
from nodepool_tx.nodescan.interface import Scanner
from nodepool_tx.nodescan.scanner import ReactorScanner
from nodepool_tx.nodescan.simulated import SimulatedHosts
from nodepool_tx.offload import in_thread
from nodepool_tx.options import INTERVALS, Options
from nodepool_tx.pools.registry import PoolRegistry
from nodepool_tx.pools.tenants import TenantLimits
from nodepool_tx.providers import DriverRegistry
from nodepool_tx.providers.drains import DrainLedger
from nodepool_tx.providers.interface import Intervals, ProviderContext, ProviderService
from nodepool_tx.providers.ownership import Ownerships
from nodepool_tx.providers.tree import ProviderTree
from nodepool_tx.reload import Reloader
from nodepool_tx.store.store import Store
from nodepool_tx.txzookeeper.client import ZookeeperClient
from nodepool_tx.txzookeeper.tls import TLSFiles

__all__ = ["Core", "make_core"]


@attrs.frozen(kw_only=True)
class Core:
    """The launcher itself: what answers requests, without what shows it to people.

    :ivar initial: the configuration it starts with.
    """

    reactor: Any
    hostname: str
    intervals: Intervals
    initial: Config
    events: Events
    tenant_limits: TenantLimits
    embedded: EmbeddedZookeeper | None
    session: Session
    store: Store
    presence: Presence
    providers: ProviderTree
    reloader: Reloader
    launcher: Launcher
    watcher: ConfigWatcher
    janitor: Janitor
    min_ready: MinReady

    def in_force(self) -> Config:
        """The configuration that applies now."""
        return self.reloader.config or self.initial

    def operations(self) -> Operations:
        """Its part about what operators are offered."""
        return self.in_force().operations

    def services(self) -> tuple[ProviderService, ...]:
        """Every provider service there is, those that only finish included."""
        return (*self.reloader.services().values(), *self.reloader.retiring())


def make_core(options: Options, reactor: Any) -> Core:
    config: Config = options["loaded"]
    hostname = socket.gethostname()
    intervals = Intervals(*(options[name] for name, *_ in INTERVALS))
    embedded: EmbeddedZookeeper | None = None
    if not config.zookeeper_servers:
        embedded = EmbeddedZookeeper(reactor, options["state-dir"], find_runtime())
    client = _client(reactor, config)
    session = Session(
        client,
        embedded.when_ready if embedded else lambda: succeed(connection_string(config)),
        plain=embedded is None and config.zookeeper_tls is None,
    )
    store = Store(client, reactor)
    registry = PoolRegistry(store, hostname, __version__)
    ownerships = Ownerships(client, hostname)
    tenant_limits = TenantLimits()
    events = Events()
    context = ProviderContext(
        clock=reactor,
        store=store,
        scanner=_scanner(reactor, options),
        registry=registry,
        ownerships=ownerships,
        tenant_limits=tenant_limits,
        intervals=intervals,
        events=events,
        reactor=reactor,
        offload=in_thread(reactor),
    )
    providers = ProviderTree()
    drivers = DriverRegistry()
    reloader = Reloader(
        reactor,
        providers,
        lambda provider: drivers.find(provider.driver).build(provider, context),
        registry,
        ownerships,
        tenant_limits,
        DrainLedger(client),
        events,
    )
    launcher = Launcher(reloader, store, session, config, _notices(options), events)
    watcher = ConfigWatcher(
        options["config"],
        options["secure"],
        clock=reactor,
        interval=intervals.config,
        on_config=launcher.on_config,
        on_errors=launcher.on_errors,
        offload=in_thread(reactor),
        env=options.environ,
        initial=config,
    )

    def in_force() -> Config:
        return reloader.config or config

    return Core(
        reactor=reactor,
        hostname=hostname,
        intervals=intervals,
        initial=config,
        events=events,
        tenant_limits=tenant_limits,
        embedded=embedded,
        session=session,
        store=store,
        presence=Presence(store, registry, ownerships, hostname, __version__),
        providers=providers,
        reloader=reloader,
        launcher=launcher,
        watcher=watcher,
        janitor=Janitor(
            reactor,
            store,
            in_force,
            reloader.services,
            interval=intervals.cleanup,
            lock_age=intervals.lock_cleanup,
        ),
        min_ready=MinReady(reactor, store, in_force, hostname, interval=intervals.cleanup),
    )


def _client(reactor: Any, config: Config) -> ZookeeperClient:
    tls = config.zookeeper_tls
    return ZookeeperClient(
        reactor,
        # An embedded server's port is known when it is up.
        connection_string(config) if config.zookeeper_servers else "127.0.0.1",
        session_timeout=config.zookeeper_timeout,
        tls=TLSFiles(cert=tls.cert, key=tls.key, ca=tls.ca) if tls else None,
    )


def _notices(options: Options) -> tuple[str, ...]:
    if options["simulate-hosts"] is None:
        return ()
    return (
        f"SIMULATION: hosts that match {options['simulate-hosts']!r} are never contacted and "
        "are taken to be alive; never run a farm like this",
    )


def _scanner(reactor: Any, options: Options) -> Scanner:
    scanner: Scanner = ReactorScanner(reactor)
    if options["simulate-hosts"] is not None:
        scanner = SimulatedHosts(scanner, options["simulated"])
    return scanner
