"""``twistd nodepool``: the one place where everything is put together.

Nothing below this module imports the global reactor or looks at the
environment; what a part needs is handed to it here.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from twisted.logger import ILogObserver
from twisted.python.logfile import LogFile

from nodepool_tx import names, steady
from nodepool_tx.assembly.core import Core, make_core
from nodepool_tx.assembly.entrances import Entrances, make_entrances
from nodepool_tx.assembly.sight import Sight, make_sight
from nodepool_tx.collecting import Collector
from nodepool_tx.explain import Answers
from nodepool_tx.explain.questions import launcher_id
from nodepool_tx.leases.notice import PlainHTTP
from nodepool_tx.leases.polls import Polls
from nodepool_tx.leases.service import LeaseService
from nodepool_tx.logs import begin_new_file, make_levels, make_observer, open_file
from nodepool_tx.maintenance import MaintenanceEnds
from nodepool_tx.manhole.scene import Scene
from nodepool_tx.manhole.service import ManholeService
from nodepool_tx.options import Options
from nodepool_tx.root import OrderedService
from nodepool_tx.signals import SignalHandler
from nodepool_tx.work import Tracker

if TYPE_CHECKING:
    from nodepool_tx.web.server import WebServer

__all__ = ["Options", "makeService"]


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
    steady.install(reactor)
    return build(options, reactor)


def build(options: Options, reactor: Any) -> Root:
    """Everything there is, in the order in which it starts."""
    log_file = _log_file(options)
    levels = make_levels(options["log-level"])
    observer = make_observer(log_file, options["log-format"], options["log-level"], levels)
    to_syslog = options.parent is not None and options.parent.get("syslog")
    root = Root(reactor, options["stop-timeout"], None if to_syslog else observer)

    core = make_core(options, reactor)
    sight = make_sight(core, options)
    entrances = make_entrances(core)
    leases = LeaseService(reactor, core.store)
    polls = Polls(reactor, core.store.leases)
    web = None if options["no-webapp"] else _web(core, sight, entrances, leases, polls)
    scene = Scene(
        farm=sight.farm,
        watcher=core.watcher,
        levels=None if to_syslog else levels,
        consoles=Tracker(reactor),
    )
    console = ManholeService(
        reactor,
        core.operations,
        scene,
        entrances.log_ins,
        entrances.audit,
        os.path.join(options["state-dir"], "manhole"),
    )
    plain_http = PlainHTTP()
    for reconfigure in (
        core.min_ready.reconfigure,
        *([web.reconfigure] if web else []),
        console.reconfigure,
        lambda: plain_http.look(core.in_force()),
    ):
        core.launcher.when_applied(reconfigure)

    def begin_logs() -> None:
        if log_file is not None:
            begin_new_file(log_file)
        entrances.audit.reopen()

    # Stopped from the bottom up, each only when those below it have stopped.
    for child in (
        *([core.embedded] if core.embedded else []),
        core.session,
        core.store,
        core.presence,
        # Before those that tell it what happens.
        sight.metrics,
        core.providers,
        core.launcher,
        core.janitor,
        MaintenanceEnds(core.store),
        core.min_ready,
        Answers(core.store, core.services, lambda: launcher_id(core.presence.path)),
        leases,
        core.watcher,
        *([web] if web else []),
        polls,
        entrances.directory,
        console,
        SignalHandler(reactor, core.watcher, core.reloader, core.store, begin_log=begin_logs),
        Collector(reactor),
    ):
        child.setServiceParent(root)
    return root


def _web(
    core: Core, sight: Sight, entrances: Entrances, leases: LeaseService, polls: Polls
) -> WebServer:
    # Much of what the process imports is for this alone.
    from nodepool_tx.assembly.web import make_web

    return make_web(core, sight, entrances, leases, polls)


def _log_file(options: Options) -> LogFile | None:
    """Where twistd's own options say that the log goes; None for standard output."""
    server = options.parent
    if server is None or server.get("syslog"):
        return None
    path = server.get("logfile")
    if path == "-" or (path is None and server.get("nodaemon")):
        return None
    return open_file(path or "twistd.log")
