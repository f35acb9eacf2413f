"""What other launchers see of a pool.

A pool that is asked first and has no room, or cannot make nodes now, is shown
as paused: those that would yield to it need not wait for it then.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.interfaces import IDelayedCall, IReactorTime

from nodepool_tx.model import PoolComponent
from nodepool_tx.pools.interface import PoolSettings
from nodepool_tx.pools.registry import PoolRegistry
from nodepool_tx.pools.rules import PoolView

__all__ = ["Standing"]

#: Seconds for which nothing must wait before a pool is shown as able again:
#: every change of it makes all launchers look at all requests.
CALM = 10.0


class Standing:
    """The registration of one pool.

    :param online: gives all pools that are online.
    """

    def __init__(
        self,
        clock: IReactorTime,
        registry: PoolRegistry,
        settings: PoolSettings,
        launches: bool,
        online: Callable[[], tuple[PoolComponent, ...]],
    ) -> None:
        self._clock = clock
        self._registry = registry
        self._settings = settings
        self._launches = launches
        self._online = online
        self._paused = False
        self._calm: IDelayedCall | None = None
        self._id: str | None = None

    @property
    def id(self) -> str:
        """The id it is registered under, or was: a pool that was taken off stays off."""
        return self.show() if self._id is None else self._id

    def show(self) -> str:
        """Have it registered; returns the id it has there."""
        settings = self._settings
        self._id = self._registry.show(
            settings.provider, settings.name, settings.labels, settings.priority, self._paused
        ).id
        return self._id

    def view(self) -> PoolView:
        """How the rules see it."""
        settings = self._settings
        return PoolView(
            id=self.show(),
            provider=settings.provider,
            name=settings.name,
            labels=settings.labels,
            priority=settings.priority,
            enabled=settings.max_servers > 0,
            launches=self._launches,
        )

    def blocked(self, blocked: bool) -> None:
        """Whether requests wait here that others might serve."""
        if blocked:
            self.forget()
            if not self._paused and self._others_wait_for_us():
                self._paused = True
                self.show()
        elif self._paused and self._calm is None:
            self._calm = self._clock.callLater(CALM, self._unpause)

    def forget(self) -> None:
        """Change nothing by itself from now on."""
        if self._calm is not None:
            self._calm.cancel()
            self._calm = None

    def _unpause(self) -> None:
        self._calm = None
        self._paused = False
        self.show()

    def _others_wait_for_us(self) -> bool:
        settings = self._settings
        return any(
            pool.priority > settings.priority and pool.supported_labels & settings.labels
            for pool in self._online()
        )
