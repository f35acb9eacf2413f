"""What is known for people to see, and told to those who measure."""

from __future__ import annotations

import attrs

from nodepool_tx import __version__
from nodepool_tx.assembly.core import Core
from nodepool_tx.metrics.lines import address_of
from nodepool_tx.metrics.service import Metrics
from nodepool_tx.metrics.sources import Sources
from nodepool_tx.options import Options
from nodepool_tx.providers.interface import Loop
from nodepool_tx.status.farm import Farm
from nodepool_tx.status.health import loops_of
from nodepool_tx.status.tally import Tally

__all__ = ["Sight", "make_sight"]


@attrs.frozen(kw_only=True)
class Sight:
    """What is known for people to see.

    :ivar sources: what numbers come from.
    :ivar metrics: those who are told of them.
    """

    farm: Farm
    sources: Sources
    metrics: Metrics


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
    )
    metrics = Metrics(reactor, sources, _statsd(options), core.intervals.stats)
    return Sight(farm=farm, sources=sources, metrics=metrics)


def _statsd(options: Options) -> tuple[str, int] | None:
    environ = options.environ
    try:
        return address_of(environ.get("STATSD_HOST"), environ.get("STATSD_PORT"))
    except ValueError as e:
        raise SystemExit(str(e)) from None
