"""What other launchers see of a pool.

A pool that is asked first and has no room, or cannot make nodes now, is shown
as paused: those that would yield to it need not wait for it then.  So is one
whose provider is out of service, at once and for as long as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from twisted.internet.interfaces import IDelayedCall, IReactorTime

from nodepool_tx.model import PoolComponent
from nodepool_tx.pools.interface import PoolSettings
from nodepool_tx.pools.registry import PoolRegistry
from nodepool_tx.pools.rules import PoolView

__all__ = ["SETTLING", "Standing"]

#: Seconds for which nothing must wait before a pool is shown as able again:
#: every change of it makes all launchers look at all requests.
CALM = 10.0

#: Seconds after a start for which a pool that cannot make nodes is not shown as
#: paused: what the cloud offers is usually known in the next moment, and those
#: that are asked later must not be given everything meanwhile.
SETTLING = 10.0


class Standing:
    """The registration of one pool.

    :param online: gives all pools that are online.
    :param out_of_service: gives the providers that are, and why in words.
    """

    def __init__(
        self,
        clock: IReactorTime,
        registry: PoolRegistry,
        settings: PoolSettings,
        launches: bool,
        online: Callable[[], tuple[PoolComponent, ...]],
        out_of_service: Callable[[], Mapping[str, str]],
    ) -> None:
        self._clock = clock
        self._registry = registry
        self._settings = settings
        self._launches = launches
        self._online = online
        self._out_of_service = out_of_service
        self._paused = False
        self._objected = False
        self._calm: IDelayedCall | None = None
        self._settling: IDelayedCall | None = None
        self._id: str | None = None

    @property
    def id(self) -> str:
        """The id it is registered under, or was: a pool that was taken off stays off."""
        return self.show() if self._id is None else self._id

    def begin(self) -> None:
        """Show it, as one that answers requests from now on."""
        self.show()
        if self._launches and self._settling is None:
            self._settling = self._clock.callLater(SETTLING, self._settle)

    def _settle(self) -> None:
        self._settling = None
        if self._objected:
            self._pause()

    def show(self) -> str:
        """Have it registered; returns the id it has there."""
        settings = self._settings
        paused = self._paused or settings.provider in self._out_of_service()
        self._id = self._registry.show(
            settings.provider, settings.name, settings.labels, settings.priority, paused
        ).id
        return self._id

    @property
    def settled(self) -> bool:
        """The registrations of all our pools have come back to us."""
        return self._registry.all_in(self._online())

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
            out_of_service=self._out_of_service(),
        )

    def blocked(self, *, short: bool, objected: bool) -> None:
        """Whether requests wait here that others might serve.

        :param short: there is no room for some.
        :param objected: for some nothing can be made now.
        """
        self._objected = objected
        if short or (objected and self._settling is None):
            self._pause()
        elif self._paused and self._calm is None:
            self._calm = self._clock.callLater(CALM, self._unpause)

    def _pause(self) -> None:
        if self._calm is not None:
            self._calm.cancel()
            self._calm = None
        if not self._paused and self._others_wait_for_us():
            self._paused = True
            self.show()

    def forget(self) -> None:
        """Change nothing by itself from now on."""
        for timer in (self._calm, self._settling):
            if timer is not None:
                timer.cancel()
        self._calm = self._settling = None

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
