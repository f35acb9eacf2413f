"""Giving a provider up that is no longer configured.

Another launcher may still have it: then its nodes are not ours to remove.  As
configurations change on all launchers at about the same time, but not at the
same moment, the nodes are kept in order for a while, and left to the others if
those are still there when it has passed.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from nodepool_tx.config.schema import ProviderConfig
from nodepool_tx.pools.registry import PoolRegistry
from nodepool_tx.store.components import ComponentTable

__all__ = ["Drain"]


class Drain:
    """Whether a provider is being given up, and who waits for that.

    :param current: whether ``components`` shows what is in ZooKeeper.
    :param patience: seconds to wait for other launchers to give it up as well.
    :param changed: called when it begins to be given up, or is kept for others
        from now on.
    """

    _log = Logger()

    def __init__(
        self,
        config: ProviderConfig,
        clock: IReactorTime,
        components: ComponentTable,
        current: Callable[[], bool],
        registry: PoolRegistry,
        patience: float,
        changed: Callable[[], None],
    ) -> None:
        self._config = config
        self._clock = clock
        self._components = components
        self._current = current
        self._registry = registry
        self._patience = patience
        self._changed = changed
        self._own_pools: frozenset[str] = frozenset()
        self._waiting: list[Deferred[None]] = []
        self._timer: IDelayedCall | None = None
        self._unsubscribe: Callable[[], None] | None = None
        #: It was asked for.
        self.wanted = False
        #: The others have been waited for in vain.
        self.left_to_others = False

    @property
    def removes(self) -> bool:
        """The nodes are to go now."""
        return self.wanted and not self.left_to_others and not self._others()

    def begin(self) -> Deferred[None]:
        """Give it up; fires when :meth:`finish` is called."""
        if not self.wanted:
            self.wanted = True
            shown = (self._registry.get(self._config.name, p.name) for p in self._config.pools)
            self._own_pools = frozenset(component.id for component in shown if component)
            if self._others():
                self._log.info(
                    "{provider} is kept in order: another launcher has it",
                    provider=self._config.name,
                )
                self._unsubscribe = self._components.subscribe(self._changed)
                self._timer = self._clock.callLater(self._patience, self._leave)
        waiter: Deferred[None] = Deferred(self._forget)
        self._waiting.append(waiter)
        return waiter

    def finish(self) -> None:
        """It is given up."""
        self._end_waiting()
        waiting, self._waiting = self._waiting, []
        for waiter in waiting:
            waiter.callback(None)

    def cancel(self) -> None:
        """Nobody will see the end of it."""
        self._end_waiting()
        waiting, self._waiting = self._waiting, []
        for waiter in waiting:
            waiter.errback(Failure(CancelledError()))

    def _forget(self, waiter: Deferred[None]) -> None:
        if waiter in self._waiting:
            self._waiting.remove(waiter)

    def _leave(self) -> None:
        if not self._current():
            # Who seems to be there may have gone long ago: see again later.
            self._timer = self._clock.callLater(self._patience, self._leave)
            return
        self._end_waiting()
        if self._others():
            self.left_to_others = True
            self._log.info(
                "the nodes of {provider} are left to the other launchers that have it",
                provider=self._config.name,
            )
        self._changed()

    def _end_waiting(self) -> None:
        if self._unsubscribe is not None:
            self._unsubscribe()
            self._unsubscribe = None
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = None

    def _others(self) -> bool:
        """Another launcher serves requests from this provider."""
        return any(
            pool.provider_name == self._config.name and pool.id not in self._own_pools
            for pool in self._components.pools()
        )
