"""The service of a cloud provider: its pools, its launches, and who looks after its nodes."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

import attrs
from twisted.application.service import MultiService
from twisted.internet.defer import Deferred, gatherResults, succeed
from twisted.internet.task import deferLater
from twisted.logger import Logger

from nodepool_tx.config.cloud import CloudProvider
from nodepool_tx.model import Node
from nodepool_tx.nodescan.interface import Scanner
from nodepool_tx.periodic import Periodic
from nodepool_tx.pools.admission import Admission
from nodepool_tx.pools.explaining import PoolExplanation, Reason
from nodepool_tx.pools.interface import PoolSettings
from nodepool_tx.pools.service import PoolService
from nodepool_tx.providers.cloud import status
from nodepool_tx.providers.cloud.housekeeping import Housekeeping
from nodepool_tx.providers.cloud.insight import CloudInsight
from nodepool_tx.providers.cloud.interface import CanBeGivenUp, CloudAdapter
from nodepool_tx.providers.cloud.launches import Launches
from nodepool_tx.providers.cloud.leaks import Leaks
from nodepool_tx.providers.cloud.leftovers import InUse
from nodepool_tx.providers.cloud.lost import LostServers
from nodepool_tx.providers.cloud.making import Making
from nodepool_tx.providers.cloud.parts import open_account
from nodepool_tx.providers.cloud.quota import INTERVAL
from nodepool_tx.providers.cloud.removals import Removals
from nodepool_tx.providers.cloud.sweep import Sweep
from nodepool_tx.providers.drain import Drain
from nodepool_tx.providers.interface import (
    Loop,
    Measures,
    Phase,
    ProviderContext,
    ProviderStatus,
)
from nodepool_tx.providers.ownership import Ownership
from nodepool_tx.store.change import Uncertain
from nodepool_tx.store.maintenance import in_words, shown
from nodepool_tx.store.nodes import NodeChange
from nodepool_tx.work import Tracker, shielded

__all__ = ["CloudProviderService"]


class CloudProviderService(MultiService):
    """One cloud provider; see :class:`nodepool_tx.providers.interface.ProviderService`.

    Every launcher makes the nodes of its own requests.  Adopting and removing
    nodes, and what was left over in the cloud, is for the owner alone.

    :param scanner: looks at the servers; the launcher's own, if not given.
    :param random: where jitter and choices come from.
    :param shared: other launchers see the same cloud.
    :ivar making: what the pools ask; see :class:`nodepool_tx.pools.interface.NodeMaker`.
    """

    _log = Logger()
    name: str

    def __init__(
        self,
        config: CloudProvider,
        context: ProviderContext,
        adapter: CloudAdapter,
        *,
        scanner: Scanner | None = None,
        random: Random | None = None,
        paced: bool = True,
        shared: bool = True,
    ) -> None:
        super().__init__()
        self.setName(config.name)
        self.config = config
        self._context = context
        self._adapter = adapter
        self._phase = Phase.NEW
        self._ownership: Ownership | None = None
        self._unsubscribe: list[Callable[[], None]] = []
        self._idling: Deferred[Any] | None = None
        #: Whether the tables show all that the owner before us has done.
        self._caught_up = False
        clock = context.clock
        self._tracker = Tracker(clock)
        self._account = open_account(
            config, context, adapter, scanner or context.scanner, random or Random(), paced
        )
        self._leaks = Leaks(
            config.name,
            adapter,
            self._account.calls,
            InUse(context.store, config.name),
            context.events,
        )
        self._launches = Launches(self._account, self._on_ended)
        self._removals = Removals(self._account, self._on_ended)
        lost = LostServers(
            self._account,
            context.registry,
            shared,
            lambda node, why: self._removals.put(node, why, free=True),
        )
        self._sweep = Sweep(config.name, self._leaks, lost, self._may_look_after)
        self._drain = Drain(
            config,
            clock,
            context.store.components,
            lambda: context.store.current,
            context.registry,
            context.intervals.cleanup,
            self._on_drain,
        )
        self._housekeeping = Housekeeping(
            self._account,
            context.registry,
            self._launches,
            self._removals,
            self._may_decide,
            self._may_look_after,
            lambda: self._drain.removes,
            self._why_withdrawn,
        )
        self.making = Making(self._account, self._launches, self._housekeeping)
        self._insight = CloudInsight(self._account, self.making, self._launches)
        # The safety net below the events.
        self._everything = Periodic(
            clock,
            f"full look at provider {config.name}",
            context.intervals.cleanup,
            self._look_at_everything,
        )
        self._sweeping = Periodic(
            clock,
            f"sweep of provider {config.name}",
            context.intervals.cleanup,
            self._sweep_up,
        )
        self._pools = self._make_pools()

    def _make_pools(self) -> list[PoolService]:
        admission = Admission(self.config.max_concurrency)
        pools: list[PoolService] = []
        for pool in self.config.pools:
            service = PoolService(
                self._context.clock,
                self._context.store,
                self._context.registry,
                self._context.reservations,
                PoolSettings(
                    provider=self.config.name,
                    name=pool.name,
                    labels=pool.labels,
                    priority=pool.effective_priority,
                    max_servers=pool.max_servers,
                    limits=pool.limits,
                    ignore_provider_quota=pool.ignore_provider_quota,
                ),
                self,
                admission,
                self.making,
                self._context.events,
            )
            service.setServiceParent(self)
            pools.append(service)
        return pools

    # -- life ------------------------------------------------------------

    @property
    def phase(self) -> Phase:
        return self._phase

    def startService(self) -> None:
        self._ownership = self._context.ownerships.of(self.config.name)
        store = self._context.store
        self._adapter.start()
        self._unsubscribe = [
            store.nodes.subscribe(self._on_node),
            store.when_current(self._on_current),
            store.maintenance.subscribe(self._on_maintenance),
            self._ownership.subscribe(self._on_owner),
        ]
        self.making.start()
        super().startService()
        self._account.offers.start()
        self._go()

    def stopService(self) -> Deferred[Any]:
        """Leave every launch to whoever is next, and let go of all locks.

        A server just asked for is waited for a moment, so that it can be
        written down.
        """
        self._phase = Phase.STOPPED
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        account = self._account
        children: Deferred[Any] = super().stopService()
        self._drain.cancel()
        await gatherResults(
            [
                children,
                self._quiesce(),
                self._launches.stop(),
                self._removals.stop(),
                account.offers.stop(),
                account.quota.stop(),
            ]
        )
        for unsubscribe in self._unsubscribe:
            unsubscribe()
        self._unsubscribe = []
        self.making.stop()
        account.breakers.stop()
        await self._adapter.stop()

    def idle(self) -> Deferred[None]:
        """See :meth:`ProviderService.idle`; launches and removals go on."""
        if self._phase in (Phase.ACTIVE, Phase.DRAINING):
            self._phase = Phase.IDLE
            self._idling = self._quiesce()
        waited_for = self._idling if self._phase is Phase.IDLE else None
        return shielded(waited_for or self._quiesce()).addCallback(lambda _: None)

    def retired(self) -> Deferred[None]:
        """See :meth:`ProviderService.retired`: when all that was begun has ended."""
        return Deferred.fromCoroutine(self._retire())

    async def _retire(self) -> None:
        await self.idle()
        await gatherResults([pool.retired() for pool in self._pools])
        while len(self._launches) or len(self._removals):
            await gatherResults([self._launches.idle(), self._removals.idle()])
            # What ends may have a last word, and what waits begins in another turn.
            await deferLater(self._context.clock, 0)

    def resume(self) -> None:
        """See :meth:`ProviderService.resume`."""
        if self._phase is Phase.IDLE:
            if not self._drain.wanted:
                for pool in self._pools:
                    pool.resume()
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
        self._sweeping.startService()
        self._launches.open()
        self._removals.open()
        if self._context.store.current:
            self._account.quota.start()
        self._catch_up_if_owner()
        self._housekeeping.mark_all()
        self._on_progress()

    def _take_phase(self) -> None:
        self._phase = Phase.ACTIVE
        if self._drain.wanted:
            self._phase = Phase.DRAINING
            for pool in self._pools:
                pool.idle().addCallback(lambda _: self._on_progress())

    def _quiesce(self) -> Deferred[Any]:
        """Begin nothing more; fires when nothing is being decided."""
        self._housekeeping.close()
        self._removals.close()
        self._tracker.cancel()
        return gatherResults(
            [
                *(pool.idle() for pool in self._pools),
                self._everything.stopService(),
                self._sweeping.stopService(),
                self._tracker.idle(),
            ]
        )

    # -- what it may do --------------------------------------------------

    @property
    def owner(self) -> bool:
        """This launcher looks after the provider."""
        return self._ownership is not None and self._ownership.held

    def _may_decide(self) -> bool:
        return self._phase in (Phase.ACTIVE, Phase.DRAINING) and self._context.store.current

    def _may_look_after(self) -> bool:
        return self._may_decide() and self.owner and self._caught_up

    # -- what wakes it ---------------------------------------------------

    def _on_node(self, change: NodeChange) -> None:
        if self.config.name in change.concerns:
            self.making.follow(change)
            self._launches.follow(change)
            self._housekeeping.follow(change)
            if change.after is None:
                self._on_progress()

    def _on_ended(self, node_id: str, crashed: bool) -> None:
        """Nothing is done here any more about a node: see what is to be done next."""
        if crashed:
            self._housekeeping.shun(node_id)
        if self._phase in (Phase.ACTIVE, Phase.DRAINING):
            self._housekeeping.mark(node_id)
            self._on_progress()

    def _on_current(self, current: bool) -> None:
        if current and self._phase in (Phase.ACTIVE, Phase.DRAINING):
            self._account.quota.start()
            self._housekeeping.mark_all()
            self._catch_up_if_owner()

    def _on_maintenance(self) -> None:
        """Its stock may have to go; what was to go may stay."""
        if self._phase in (Phase.ACTIVE, Phase.DRAINING):
            self._housekeeping.mark_all()

    def _why_withdrawn(self) -> str:
        """Why an operator took the provider out of service, in words; "" if nobody did."""
        record = self._context.store.maintenance.of_provider(self.config.name)
        return "" if record is None else in_words(record, self._context.clock.seconds())

    def _on_owner(self, held: bool) -> None:
        self._caught_up = False
        self._catch_up_if_owner()

    def _catch_up_if_owner(self) -> None:
        if self._phase in (Phase.ACTIVE, Phase.DRAINING) and self.owner and not self._caught_up:
            self._tracker.run("catching up with the owner before", self._catch_up())

    async def _catch_up(self) -> None:
        """See all that was done before, or it would be done again."""
        try:
            await self._context.store.barrier()
        except Uncertain as e:
            self._log.debug("not caught up: {reason}", reason=str(e))
            return
        self._caught_up = True
        self._housekeeping.mark_all()

    def _on_drain(self) -> None:
        if self._drain.removes:
            self._launches.close()
            self._launches.cut_off()
        self._housekeeping.mark_all()
        self._on_progress()

    def _on_progress(self) -> None:
        """See whether there is anything left to drain."""
        if self._phase is not Phase.DRAINING or any(pool.in_flight() for pool in self._pools):
            return
        store = self._context.store
        empty = (
            store.current
            and self.config.name not in store.nodes.providers()
            and not len(self._launches)
            and not len(self._removals)
        )
        if empty or self._drain.left_to_others:
            if self._drain.removes and isinstance(self._adapter, CanBeGivenUp):
                self._adapter.give_up()
            self._drain.finish()

    async def _look_at_everything(self) -> None:
        self._housekeeping.mark_all()
        self._on_progress()

    async def _sweep_up(self) -> None:
        if self._may_look_after():
            await self._tracker.run("sweeping up what is left over", self._sweep.round())
        else:
            self._sweep.skip()

    # -- for the pools ---------------------------------------------------

    def check(self, node: Node) -> Deferred[bool]:
        """See :meth:`nodepool_tx.pools.interface.NodeSource.check`: used once, they are fit."""
        return succeed(True)

    # -- telling ---------------------------------------------------------

    def measures(self) -> Measures:
        """See :meth:`nodepool_tx.providers.interface.Measured.measures`."""
        quota = self._account.quota.describe()
        return Measures(
            waiting={pool.pool: pool.waiting for pool in self._pools},
            loops=(
                Loop(*self._everything.health),
                Loop(*self._sweeping.health),
                Loop(f"reading the quota of provider {self.config.name}", INTERVAL, quota.read),
            ),
            launching=len(self._launches),
            deleting=len(self._removals),
            quota=quota.quota,
            others=quota.others,
        )

    def status(self) -> ProviderStatus:
        withdrawn = self._why_withdrawn()
        maintenance = self._context.store.maintenance.of_provider(self.config.name)
        described = status.describe(self._account, len(self._launches), self._removals, self._leaks)
        return ProviderStatus(
            name=self.config.name,
            driver=self.config.driver,
            phase=self._phase,
            owner=self.owner,
            tasks=(
                *self._launches.tasks(),
                *self._removals.tasks(),
                *((task.what, task.since) for task in self._tracker.tasks()),
                *(entry for pool in self._pools for entry in pool.in_flight()),
            ),
            details={
                **attrs.asdict(described, recurse=False),
                "maintenance": shown(maintenance),
                "last_full_look": self._everything.last_success,
                "last_sweep": self._sweeping.last_success,
            },
            waiting=tuple(f"{pool.name}: {line}" for pool in self._pools for line in pool.waits()),
            troubles=(
                *([withdrawn] if withdrawn else []),
                *status.troubles_of(described, self._leaks),
            ),
        )

    def explain(self, request_id: str) -> tuple[PoolExplanation, ...]:
        """See :meth:`ProviderService.explain`."""
        found = (pool.explain(request_id, self._insight) for pool in self._pools)
        return tuple(each for each in found if each is not None)

    def reasons(self, request_id: str) -> tuple[Reason, ...]:
        """See :meth:`ProviderService.reasons`."""
        found = (pool.reason(request_id) for pool in self._pools)
        return tuple(each for each in found if each is not None)
