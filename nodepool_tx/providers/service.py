"""What the services of all drivers have in common.

Design note: what is a driver's own
-----------------------------------
The base has the phases, the pools, the ownership and the drain, and wakes the
parts of a driver when there is something for them to do.  A driver makes its
parts in ``__init__``, the pools last (:meth:`PooledProvider._make_pools`), and
says by these what they do:

- ``_prepare``, ``_begin``, ``_halt``, ``_stop``: their life;
- ``_follow``, ``_on_current``, ``_on_caught_up``, ``_look_again``: what wakes them;
- ``_emptied``, ``_given_up``: whether it is given up, and the last that is done;
- ``check``, ``status``: what pools and people ask.

The parts ask each time whether they may act, ``_may_decide`` or
``_may_look_after``, and call ``_on_progress`` when something has ended.  Only
what is abstract must be there.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from twisted.application.service import MultiService
from twisted.internet.defer import Deferred, gatherResults
from twisted.logger import Logger

from nodepool_tx.config.schema import ProviderConfig
from nodepool_tx.model import Node
from nodepool_tx.periodic import Periodic
from nodepool_tx.pools.explaining import Insight, PoolExplanation, Reason
from nodepool_tx.pools.interface import NodeMaker, PoolSettings
from nodepool_tx.providers.drain import Drain
from nodepool_tx.providers.interface import Phase, ProviderContext, ProviderStatus
from nodepool_tx.providers.pooling import Pools
from nodepool_tx.providers.tenure import Tenure
from nodepool_tx.store.maintenance import shown
from nodepool_tx.store.nodes import NodeChange
from nodepool_tx.work import shielded

__all__ = ["PooledProvider"]


class PooledProvider(MultiService, ABC):
    """A provider with pools; see :class:`nodepool_tx.providers.interface.ProviderService`."""

    _log = Logger()
    name: str
    _pools: Pools

    def __init__(self, config: ProviderConfig, context: ProviderContext) -> None:
        super().__init__()
        self.setName(config.name)
        self.config = config
        self._context = context
        self._phase = Phase.NEW
        self._unsubscribe: list[Callable[[], None]] = []
        self._idling: Deferred[Any] | None = None
        clock, store, interval = context.clock, context.store, context.intervals.cleanup
        self._tenure = Tenure(
            config.name, context, self._log, lambda: self._working, self._on_caught_up
        )
        self._drain = Drain(
            config,
            clock,
            store.components,
            lambda: store.current,
            context.registry,
            interval,
            self._on_drain,
        )
        # The safety net below the events.
        self._everything = Periodic(
            clock, f"full look at provider {config.name}", interval, self._look_at_everything
        )

    def _make_pools(
        self, settings: Iterable[PoolSettings], insight: Insight, maker: NodeMaker | None = None
    ) -> None:
        """Make the pools; see :class:`Pools`."""
        self._pools = Pools(self, self._context, self.config, settings, self, insight, maker)

    # -- life ------------------------------------------------------------

    @property
    def phase(self) -> Phase:
        return self._phase

    @property
    def _working(self) -> bool:
        return self._phase in (Phase.ACTIVE, Phase.DRAINING)

    def startService(self) -> None:
        self._tenure.stand()
        self._prepare()
        store = self._context.store
        self._unsubscribe += [
            store.nodes.subscribe(self._on_node),
            store.when_current(self._on_store),
            self._tenure.follow(),
        ]
        super().startService()
        self._go()

    def stopService(self) -> Deferred[Any]:
        self._phase = Phase.STOPPED
        return Deferred.fromCoroutine(self._stop())

    def idle(self) -> Deferred[None]:
        """See :meth:`ProviderService.idle`."""
        if self._working:
            self._phase = Phase.IDLE
            self._idling = self._quiesce()
        waited_for = self._idling if self._phase is Phase.IDLE else None
        return shielded(waited_for or self._quiesce()).addCallback(lambda _: None)

    def retired(self) -> Deferred[None]:
        """See :meth:`ProviderService.retired`: nothing outlasts being idled."""
        return self.idle()

    def resume(self) -> None:
        """See :meth:`ProviderService.resume`."""
        if self._phase is Phase.IDLE:
            if not self._drain.wanted:
                self._pools.resume()
            self._go()

    def drain(self) -> Deferred[None]:
        """See :meth:`ProviderService.drain`.

        Where another launcher still has the provider, its nodes stay.
        """
        drained = self._drain.begin()
        if self._phase is Phase.ACTIVE:
            self._take_phase()
            self._on_drain()
        return drained

    def _go(self) -> None:
        """Be active, or drain."""
        self._idling = None
        self._take_phase()
        self._everything.startService()
        self._begin()
        self._tenure.catch_up()
        self._look_again()
        self._on_progress()

    def _take_phase(self) -> None:
        self._phase = Phase.ACTIVE
        if self._drain.wanted:
            self._phase = Phase.DRAINING
            for pool in self._pools:
                pool.idle().addCallback(lambda _: self._on_progress())

    def _quiesce(self) -> Deferred[Any]:
        """Begin nothing more; fires when what is under way has ended."""
        self._tenure.catching_up.cancel()
        pools = self._pools.idle()
        return gatherResults([*pools, *self._halt(), self._everything.stopService()])

    def _stop_following(self) -> None:
        for unsubscribe in self._unsubscribe:
            unsubscribe()
        self._unsubscribe = []

    def _stop_pools(self) -> Deferred[Any]:
        stopped: Deferred[Any] = super().stopService()
        return stopped

    # -- what it may do --------------------------------------------------

    @property
    def owner(self) -> bool:
        """This launcher looks after the provider."""
        return self._tenure.held

    def _may_decide(self) -> bool:
        """Something may be begun that is for every launcher to do."""
        return self._working and self._context.store.current

    def _may_look_after(self) -> bool:
        """Something may be begun that is for the owner to do."""
        return self._may_decide() and self.owner and self._tenure.caught_up

    # -- what wakes it ---------------------------------------------------

    def _on_node(self, change: NodeChange) -> None:
        if change.is_about(self.config.name):
            self._follow(change)

    def _on_store(self, current: bool) -> None:
        if current:
            self._on_current()
            self._tenure.catch_up()

    async def _look_at_everything(self) -> None:
        self._look_again()

    def _on_drain(self) -> None:
        """It is being given up, or left to others."""
        self._look_again()
        self._on_progress()

    def _on_progress(self) -> None:
        """See whether there is anything left to drain."""
        if self._phase is not Phase.DRAINING or self._pools.busy:
            return
        if (self._context.store.current and self._emptied()) or self._drain.left_to_others:
            self._given_up()
            self._drain.finish()

    # -- telling ---------------------------------------------------------

    def explain(self, request_id: str) -> tuple[PoolExplanation, ...]:
        """See :meth:`ProviderService.explain`."""
        return self._pools.explain(request_id)

    def reasons(self, request_id: str) -> tuple[Reason, ...]:
        """See :meth:`ProviderService.reasons`."""
        return self._pools.reasons(request_id)

    def _details(self) -> dict[str, Any]:
        """What is shown of every provider beside what its status has for all."""
        return {
            "maintenance": shown(self._context.store.maintenance.of_provider(self.config.name)),
            "last_full_look": self._everything.last_success,
        }

    def _status(
        self,
        under_way: Iterable[tuple[str, float]],
        details: Mapping[str, Any],
        troubles: Iterable[str],
    ) -> ProviderStatus:
        """The status, given what only the driver knows."""
        return ProviderStatus(
            name=self.config.name,
            driver=self.config.driver,
            phase=self._phase,
            owner=self.owner,
            tasks=(*under_way, *self._pools.in_flight()),
            details=details,
            waiting=self._pools.waits(),
            troubles=tuple(troubles),
        )

    # -- what a driver fills in ------------------------------------------

    def _prepare(self) -> None:
        """Follow what else the parts depend on; once, before the pools start."""

    @abstractmethod
    def _begin(self) -> None:
        """Begin to work, at the start or after :meth:`idle`; the pools are there."""

    @abstractmethod
    def _halt(self) -> Iterable[Deferred[Any]]:
        """Begin nothing more; the waits for what is under way and is not to outlast that."""

    @abstractmethod
    async def _stop(self) -> None:
        """End everything; fires when nothing runs any more.

        It calls ``_stop_following``, ``_quiesce``, ``_drain.cancel`` and ``_stop_pools``,
        in the order that the parts need.
        """

    @abstractmethod
    def _follow(self, change: NodeChange) -> None:
        """A node of this provider was changed, or came or went."""

    def _on_current(self) -> None:
        """The tables show everything again, whatever the phase."""

    @abstractmethod
    def _look_again(self) -> None:
        """Look at every node in the next turn, in case an event was missed."""

    def _on_caught_up(self) -> None:
        """This launcher has become the owner, and may act on what the tables show."""
        self._look_again()

    @abstractmethod
    def _emptied(self) -> bool:
        """Nothing of it is left, as far as the tables show; they are current."""

    def _given_up(self) -> None:
        """Its drain is about to end."""

    @abstractmethod
    def check(self, node: Node) -> Deferred[bool]:
        """See :meth:`nodepool_tx.pools.interface.NodeSource.check`."""

    @abstractmethod
    def status(self) -> ProviderStatus:
        """See :meth:`ProviderService.status`; made by ``_status``."""
