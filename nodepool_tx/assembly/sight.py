"""What is known for people to see, and how they are shown it."""

from __future__ import annotations

import resource
from collections.abc import Mapping
from typing import Any

import attrs

from nodepool_tx import __version__
from nodepool_tx.assembly.core import Core
from nodepool_tx.explain.asking import ask
from nodepool_tx.history import History
from nodepool_tx.leases.http import LeasesOverHTTP
from nodepool_tx.metrics.lines import address_of
from nodepool_tx.metrics.service import Metrics
from nodepool_tx.metrics.sources import Sources
from nodepool_tx.offload import in_thread
from nodepool_tx.options import Options
from nodepool_tx.providers.interface import Loop
from nodepool_tx.reload import Reloader
from nodepool_tx.status.farm import Farm
from nodepool_tx.status.health import loops_of
from nodepool_tx.status.tally import Tally
from nodepool_tx.store.store import Store
from nodepool_tx.web.app import WebApp
from nodepool_tx.web.explanations import Explain
from nodepool_tx.web.feeds import make_feeds
from nodepool_tx.web.hub import MOST_STREAMS, Hub
from nodepool_tx.web.routing import Front
from nodepool_tx.web.server import WebServer
from nodepool_tx.web.site import LimitedSite

__all__ = ["Sight", "make_sight", "make_web"]

#: Connections over HTTP beside those of people who watch.
SPARE_CONNECTIONS = 200


@attrs.frozen(kw_only=True)
class Sight:
    """What is known for people to see."""

    farm: Farm
    metrics: Metrics
    history: History
    hub: Hub


def make_sight(core: Core, options: Options) -> Sight:
    reactor = core.reactor

    def loops() -> tuple[Loop, ...]:
        parts = (core.janitor, core.min_ready, metrics)
        return (
            *(loop for service in parts for loop in loops_of(service)),
            Loop("config watcher", core.intervals.config, core.watcher.last_checked),
        )

    farm = Farm(
        clock=reactor,
        store=core.store,
        tally=Tally(core.store),
        reloader=core.reloader,
        launcher=core.launcher,
        hostname=core.hostname,
        version=__version__,
        started=reactor.seconds(),
        loops=loops,
    )
    history = History(reactor, core.events)
    hub = Hub(reactor, make_feeds(farm, core.events, history), _room_for_streams())
    sources = Sources(
        clock=reactor,
        events=core.events,
        store=core.store,
        reloader=core.reloader,
        launcher=core.launcher,
        tenant_limits=core.tenant_limits,
        hostname=core.hostname,
        version=__version__,
        loops=loops,
        streams=lambda: len(hub),
    )
    metrics = Metrics(reactor, sources, _statsd(options), core.intervals.stats, in_thread(reactor))
    return Sight(farm=farm, metrics=metrics, history=history, hub=hub)


def make_web(core: Core, sight: Sight, over_http: LeasesOverHTTP) -> WebServer:
    app = WebApp(
        sight.farm,
        sight.history,
        sight.hub,
        explain=_explainer(core.store, core.reloader),
        metrics=sight.metrics.resource,
        leases=over_http.extension(),
    )
    front = Front(app.routes())
    site = LimitedSite(front, core.reactor, sight.hub.most + SPARE_CONNECTIONS)
    return WebServer(core.reactor, site, sight.hub, lambda: core.in_force().webapp)


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


def _statsd(options: Options) -> tuple[str, int] | None:
    environ = options.environ
    try:
        return address_of(environ.get("STATSD_HOST"), environ.get("STATSD_PORT"))
    except ValueError as e:
        raise SystemExit(str(e)) from None
