"""What the statuses are made of."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import cast

import attrs
from twisted.internet.interfaces import IReactorTime

from nodepool_tx.launcher import Launcher
from nodepool_tx.pools.service import PoolService
from nodepool_tx.providers.interface import Loop, ProviderService
from nodepool_tx.reload import Reloader
from nodepool_tx.status.tally import Tally
from nodepool_tx.store.store import Store

__all__ = ["Farm", "pools_of"]


@attrs.frozen(kw_only=True)
class Farm:
    """This launcher, and everything it sees.

    :ivar loops: of the launcher itself; those of providers come from them.
    :ivar started: when this process began (seconds since the epoch).
    """

    clock: IReactorTime
    store: Store
    tally: Tally
    reloader: Reloader
    launcher: Launcher
    hostname: str
    version: str
    started: float
    loops: Callable[[], tuple[Loop, ...]] = tuple

    @property
    def now(self) -> float:
        """Seconds since the epoch."""
        return self.clock.seconds()


def pools_of(service: ProviderService) -> tuple[PoolService, ...]:
    """The pools of a provider that runs here."""
    children = cast("Iterable[object]", service)
    return tuple(child for child in children if isinstance(child, PoolService))
