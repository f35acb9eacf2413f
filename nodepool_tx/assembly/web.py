"""What is served over HTTP; not even imported by a launcher that serves nothing."""

from __future__ import annotations

import resource
from collections.abc import Mapping
from typing import Any

import attrs

from nodepool_tx.assembly.core import Core
from nodepool_tx.assembly.entrances import Entrances
from nodepool_tx.assembly.sight import Sight
from nodepool_tx.explain.asking import ask
from nodepool_tx.history import History
from nodepool_tx.leases.desk import Desk
from nodepool_tx.leases.entry import Entry
from nodepool_tx.leases.http import LeasesOverHTTP
from nodepool_tx.leases.polls import Polls
from nodepool_tx.leases.service import LeaseService
from nodepool_tx.metrics.prometheus import Prometheus
from nodepool_tx.offload import in_thread
from nodepool_tx.reload import Reloader
from nodepool_tx.status.requests import Reasons
from nodepool_tx.store.store import Store
from nodepool_tx.web.app import WebApp
from nodepool_tx.web.explanations import Explain
from nodepool_tx.web.feeds import make_feeds
from nodepool_tx.web.hub import MOST_STREAMS, Hub
from nodepool_tx.web.routing import Front
from nodepool_tx.web.server import WebServer
from nodepool_tx.web.site import LimitedSite

__all__ = ["make_web"]

#: Connections over HTTP beside those of people who watch.
SPARE_CONNECTIONS = 200


def make_web(
    core: Core, sight: Sight, entrances: Entrances, leases: LeaseService, polls: Polls
) -> WebServer:
    """The server; what it shows to Prometheus is kept by a part of ``sight.metrics``."""
    history = History(core.reactor, core.events)
    hub = Hub(core.reactor, make_feeds(sight.farm, core.events, history), _room_for_streams())
    sources = attrs.evolve(sight.sources, streams=lambda: len(hub))
    prometheus = Prometheus(sources, in_thread(core.reactor))
    prometheus.setServiceParent(sight.metrics)
    over_http = LeasesOverHTTP(
        core.reactor,
        Desk(core.reactor, core.store, core.in_force, leases.requests_of),
        polls,
        Entry(core.reactor, entrances.attempts, entrances.log_ins),
        entrances.audit,
        lambda: core.operations().leases,
        lambda request: Reasons(sight.farm).of(request),
    )
    app = WebApp(
        sight.farm,
        history,
        hub,
        explain=_explainer(core.store, core.reloader),
        metrics=prometheus.resource,
        leases=over_http.extension(),
    )
    site = LimitedSite(Front(app.routes()), core.reactor, hub.most + SPARE_CONNECTIONS)
    return WebServer(core.reactor, site, hub, lambda: core.in_force().webapp)


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
