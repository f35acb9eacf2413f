"""What the numbers come from."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping

import attrs
from twisted.internet.interfaces import IReactorTime

from nodepool_tx.events import Events
from nodepool_tx.launcher import Launcher
from nodepool_tx.metrics.counts import Counts
from nodepool_tx.pools.tenants import TenantLimits
from nodepool_tx.providers.interface import Loop
from nodepool_tx.reload import Reloader
from nodepool_tx.store.store import Store

__all__ = ["Sources", "limits_of"]


@attrs.frozen(kw_only=True)
class Sources:
    """This launcher, as far as it is measured.

    :ivar loops: of the parts that are no providers.
    :ivar streams: how many event streams are open; None where there are none.
    """

    clock: IReactorTime
    events: Events
    store: Store
    reloader: Reloader
    launcher: Launcher
    tenant_limits: TenantLimits
    hostname: str
    version: str
    loops: Callable[[], Iterable[Loop]] = tuple
    streams: Callable[[], int] | None = None
    counts: Counts = attrs.field(
        default=attrs.Factory(lambda self: Counts(self.store), takes_self=True)
    )


def limits_of(pool: object) -> Mapping[str, float]:
    """What a configured pool is limited in, by resource."""
    limits = dict(getattr(pool, "limits", {}))
    limits.setdefault("instances", getattr(pool, "max_servers", math.inf))
    return {resource: limit for resource, limit in limits.items() if not math.isinf(limit)}
