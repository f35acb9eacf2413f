"""``twistd nodepool``: the one place where everything is put together.

Nothing below this module imports the global reactor or looks at the
environment; what a part needs is handed to it here.
"""

from __future__ import annotations

import os
import resource
import socket
from collections.abc import Mapping
from typing import Any

from twisted.internet.defer import succeed
from twisted.logger import ILogObserver
from twisted.python.logfile import LogFile

from nodepool_tx import __version__, names
from nodepool_tx.audit import Audit
from nodepool_tx.auth.attempts import Attempts
from nodepool_tx.auth.ldap import LdapDirectory
from nodepool_tx.auth.log_ins import LogIns
from nodepool_tx.collecting import Collector
from nodepool_tx.config.operations import Operations
from nodepool_tx.config.schema import Config
from nodepool_tx.config.watch import ConfigWatcher
from nodepool_tx.embedded.runtime import find_runtime
from nodepool_tx.embedded.service import EmbeddedZookeeper
from nodepool_tx.events import Events
from nodepool_tx.explain import Answers
from nodepool_tx.explain.asking import ask
from nodepool_tx.explain.questions import launcher_id
from nodepool_tx.history import History
from nodepool_tx.janitor import Janitor
from nodepool_tx.launcher import Launcher, Presence, Session, connection_string
from nodepool_tx.leases.desk import Desk
from nodepool_tx.leases.entry import Entry
from nodepool_tx.leases.http import LeasesOverHTTP
from nodepool_tx.leases.notice import PlainHTTP
from nodepool_tx.leases.polls import Polls
from nodepool_tx.leases.service import LeaseService
from nodepool_tx.logs import begin_new_file, make_levels, make_observer, open_file
from nodepool_tx.maintenance import MaintenanceEnds
from nodepool_tx.manhole.service import ManholeService
from nodepool_tx.manhole.tools import Scene
from nodepool_tx.metrics.lines import address_of
from nodepool_tx.metrics.service import Metrics
from nodepool_tx.metrics.sources import Sources
from nodepool_tx.minready.service import MinReady
from nodepool_tx.nodescan.interface import Scanner
from nodepool_tx.nodescan.scanner import ReactorScanner
from nodepool_tx.nodescan.simulated import SimulatedHosts
from nodepool_tx.options import INTERVALS, Options
from nodepool_tx.pools.registry import PoolRegistry
from nodepool_tx.pools.tenants import TenantLimits
from nodepool_tx.providers import DriverRegistry
from nodepool_tx.providers.drains import DrainLedger
from nodepool_tx.providers.interface import Intervals, Loop, ProviderContext
from nodepool_tx.providers.ownership import Ownerships
from nodepool_tx.providers.tree import ProviderTree
from nodepool_tx.reload import Reloader
from nodepool_tx.root import OrderedService
from nodepool_tx.signals import SignalHandler
from nodepool_tx.status.farm import Farm
from nodepool_tx.status.health import loops_of
from nodepool_tx.status.requests import Reasons
from nodepool_tx.status.tally import Tally
from nodepool_tx.store.store import Store
from nodepool_tx.txzookeeper.client import ZookeeperClient
from nodepool_tx.txzookeeper.tls import TLSFiles
from nodepool_tx.web.app import WebApp
from nodepool_tx.web.explanations import Explain
from nodepool_tx.web.feeds import make_feeds
from nodepool_tx.web.hub import MOST_STREAMS, Hub
from nodepool_tx.web.routing import Front
from nodepool_tx.web.server import WebServer
from nodepool_tx.web.site import LimitedSite
from nodepool_tx.work import Tracker

__all__ = ["Options", "makeService"]

#: Connections over HTTP beside those of people who watch.
SPARE_CONNECTIONS = 200


class Root(OrderedService):
    """The top of the tree; brings its own way of writing logs with it.

    :param observer: writes the log; None leaves that to twistd.
    """

    def __init__(self, clock: Any, patience: float, observer: ILogObserver | None) -> None:
        super().__init__(clock, patience)
        self._observer = observer

    def setServiceParent(self, parent: Any) -> None:
        # twistd looks for the observer on the application, which a plugin
        # meets for the first time when its service is put there.
        super().setServiceParent(parent)
        if self._observer is not None:
            parent.setComponent(ILogObserver, self._observer)


def makeService(options: Options) -> Root:
    """Build the launcher from its options; nothing runs yet."""
    from twisted.internet import reactor

    names.install(reactor)
    return build(options, reactor)


def build(options: Options, reactor: Any) -> Root:
    """Everything there is, in the order in which it starts."""
    config: Config = options["loaded"]
    hostname = socket.gethostname()
    intervals = Intervals(*(options[name] for name, *_ in INTERVALS))
    log_file = _log_file(options)
    levels = make_levels(options["log-level"])
    observer = make_observer(log_file, options["log-format"], options["log-level"], levels)
    to_syslog = options.parent is not None and options.parent.get("syslog")
    root = Root(reactor, options["stop-timeout"], None if to_syslog else observer)

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
        offload=_in_thread(reactor),
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
    min_ready = MinReady(
        reactor,
        store,
        lambda: reloader.config or config,
        hostname,
        interval=intervals.cleanup,
    )
    launcher = Launcher(
        reloader,
        store,
        session,
        config,
        _notices(options),
        [
            min_ready.reconfigure,
            lambda: web.reconfigure(),
            lambda: console.reconfigure(),
            lambda: plain_http.look(in_force()),
        ],
        events,
    )
    watcher = ConfigWatcher(
        options["config"],
        options["secure"],
        clock=reactor,
        interval=intervals.config,
        on_config=launcher.on_config,
        on_errors=launcher.on_errors,
        offload=_in_thread(reactor),
        env=options.environ,
        initial=config,
    )
    janitor = Janitor(
        reactor,
        store,
        lambda: reloader.config or config,
        reloader.services,
        interval=intervals.cleanup,
        lock_age=intervals.lock_cleanup,
    )
    audit = Audit(reactor, config.operations.audit_log)
    # Not before the process has the rights it is to have.
    reactor.callWhenRunning(audit.reopen)

    def begin_logs() -> None:
        if log_file is not None:
            begin_new_file(log_file)
        audit.reopen()

    signals = SignalHandler(
        reactor,
        watcher,
        reloader,
        store,
        begin_log=begin_logs,
    )

    def loops() -> tuple[Loop, ...]:
        return (
            *(loop for service in (janitor, min_ready, metrics) for loop in loops_of(service)),
            Loop("config watcher", intervals.config, watcher.last_checked),
        )

    farm = Farm(
        clock=reactor,
        store=store,
        tally=Tally(store),
        reloader=reloader,
        launcher=launcher,
        hostname=hostname,
        version=__version__,
        started=reactor.seconds(),
        loops=loops,
    )
    metrics = Metrics(
        reactor,
        Sources(
            clock=reactor,
            events=events,
            store=store,
            reloader=reloader,
            launcher=launcher,
            tenant_limits=tenant_limits,
            hostname=hostname,
            version=__version__,
            loops=loops,
            streams=lambda: len(hub),
        ),
        _statsd(options),
        intervals.stats,
        _in_thread(reactor),
    )
    history = History(reactor, events)
    hub = Hub(reactor, make_feeds(farm, events, history), _room_for_streams())

    def in_force() -> Config:
        return reloader.config or config

    def operations() -> Operations:
        return in_force().operations

    directory = LdapDirectory(reactor, lambda: operations().ldap)
    attempts = Attempts(reactor)
    log_ins = LogIns(reactor, directory, attempts, audit)
    plain_http = PlainHTTP()
    leases = LeaseService(reactor, store)
    polls = Polls(reactor, store.leases)
    over_http = LeasesOverHTTP(
        reactor,
        Desk(reactor, store, in_force, leases.requests_of),
        polls,
        Entry(reactor, attempts, log_ins),
        audit,
        lambda: operations().leases,
        lambda request: Reasons(farm).of(request),
    )
    app = WebApp(
        farm,
        history,
        hub,
        explain=_explainer(store, reloader),
        metrics=metrics.resource,
        leases=over_http.extension(),
    )
    web = WebServer(
        reactor,
        LimitedSite(Front(app.routes()), reactor, hub.most + SPARE_CONNECTIONS),
        hub,
        lambda: (reloader.config or config).webapp,
    )
    scene = Scene(
        farm=farm, watcher=watcher, levels=None if to_syslog else levels, consoles=Tracker(reactor)
    )
    console = ManholeService(
        reactor,
        operations,
        scene,
        log_ins,
        audit,
        os.path.join(options["state-dir"], "manhole"),
    )
    presence = Presence(store, registry, ownerships, hostname, __version__)
    answers = Answers(
        store,
        lambda: (*reloader.services().values(), *reloader.retiring()),
        lambda: launcher_id(presence.path),
    )

    # Stopped from the bottom up, each only when those below it have stopped.
    for child in (
        *([embedded] if embedded else []),
        session,
        store,
        presence,
        # Before those that tell it what happens.
        metrics,
        providers,
        launcher,
        janitor,
        MaintenanceEnds(store),
        min_ready,
        answers,
        leases,
        watcher,
        *([] if options["no-webapp"] else [web]),
        polls,
        directory,
        console,
        signals,
        Collector(reactor),
    ):
        child.setServiceParent(root)
    return root


def _explainer(store: Store, reloader: Reloader) -> Explain:
    """For the web: why a request waits, as plain data."""

    async def explain(request_id: str) -> Mapping[str, Any] | None:
        found = await ask(store, request_id, config=reloader.config)
        return found.as_value() if found is not None else None

    return explain


def _room_for_streams() -> int:
    """How many descriptors people who watch may have, so that the work has enough."""
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return MOST_STREAMS if limit < 0 else min(MOST_STREAMS, limit // 2)


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


def _statsd(options: Options) -> tuple[str, int] | None:
    environ = options.environ
    try:
        return address_of(environ.get("STATSD_HOST"), environ.get("STATSD_PORT"))
    except ValueError as e:
        raise SystemExit(str(e)) from None


def _scanner(reactor: Any, options: Options) -> Scanner:
    scanner: Scanner = ReactorScanner(reactor)
    if options["simulate-hosts"] is not None:
        scanner = SimulatedHosts(scanner, options["simulated"])
    return scanner


def _in_thread(reactor: Any) -> Any:
    """Runs a pure function off the reactor: reading a very large file blocks."""
    from twisted.internet.threads import deferToThreadPool

    return lambda work: deferToThreadPool(reactor, reactor.getThreadPool(), work)


def _log_file(options: Options) -> LogFile | None:
    """Where twistd's own options say that the log goes; None for standard output."""
    server = options.parent
    if server is None or server.get("syslog"):
        return None
    path = server.get("logfile")
    if path == "-" or (path is None and server.get("nodaemon")):
        return None
    return open_file(path or "twistd.log")
