"""What the statuses are made of."""

from __future__ import annotations

from collections.abc import Callable

import attrs
from twisted.internet.interfaces import IReactorTime

from nodepool_tx.launcher import Launcher
from nodepool_tx.providers.interface import Loop
from nodepool_tx.reload import Reloader
from nodepool_tx.status.tally import Tally
from nodepool_tx.store.store import Store

__all__ = ["Farm"]


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
