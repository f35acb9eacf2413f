"""The service of a static provider: its pools, and what keeps its nodes in order."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import attrs
from twisted.application.service import MultiService
from twisted.internet.defer import Deferred, gatherResults
from twisted.logger import Logger

from nodepool_tx.config.schema import StaticProvider
from nodepool_tx.model import Node
from nodepool_tx.periodic import Periodic
from nodepool_tx.pools.admission import Admission
from nodepool_tx.pools.explaining import PoolExplanation, Reason
from nodepool_tx.pools.interface import PoolSettings
from nodepool_tx.pools.service import PoolService
from nodepool_tx.providers.drain import Drain
from nodepool_tx.providers.interface import (
    Loop,
    Measures,
    Phase,
    ProviderContext,
    ProviderStatus,
)
from nodepool_tx.providers.ownership import Ownership
from nodepool_tx.providers.static.desired import Identity, desired_of
from nodepool_tx.providers.static.handout import HandOut
from nodepool_tx.providers.static.insight import StaticInsight
from nodepool_tx.providers.static.plan import Mode
from nodepool_tx.providers.static.reconciler import Reconciler
from nodepool_tx.providers.static.status import health, host_statuses, troubles
from nodepool_tx.providers.static.withdrawn import Withdrawn
from nodepool_tx.store.change import Uncertain
from nodepool_tx.store.maintenance import shown
from nodepool_tx.store.nodes import NodeChange
from nodepool_tx.work import Tracker, shielded

__all__ = ["StaticProviderService"]


class StaticProviderService(MultiService):
    """One static provider; see :class:`nodepool_tx.providers.interface.ProviderService`.

    Its pools hand nodes out whether or not this launcher looks after the
    provider: that is safe, as each hand-out proves that nobody else has the
    node.  Registering, updating and removing nodes is the owner's alone.
    """

    _log = Logger()
    name: str

    def __init__(self, config: StaticProvider, context: ProviderContext) -> None:
        super().__init__()
        self.setName(config.name)
        self.config = config
        self._context = context
        self._phase = Phase.NEW
        self._ownership: Ownership | None = None
        self._unsubscribe: list[Callable[[], None]] = []
        self._idling: Deferred[Any] | None = None
        #: Whether the tables show all that the owner before us has done.
        self._caught_up = False
        self._catching_up = Tracker(context.clock)
        clock, store = context.clock, context.store
        self._desired = desired_of(config)
        self._withdrawn = Withdrawn(
            config.name, self._desired, store.maintenance, clock, self._on_withdrawn
        )
        self._drain = Drain(
            config,
            clock,
            store.components,
            lambda: store.current,
            context.registry,
            context.intervals.cleanup,
            self._on_drain,
        )
        self._reconciler = Reconciler(
            config.name,
            self._desired,
            clock,
            store,
            context.scanner,
            self._may_act,
            self._mode,
            self._withdrawn.why,
            self._on_progress,
            context.events,
        )
        self._handout = HandOut(
            self._desired,
            clock,
            store.nodes,
            self._reconciler,
            self._may_act,
            self._withdrawn.why,
        )
        self._insight = StaticInsight(
            self._desired, self._reconciler, clock, self._withdrawn.why, lambda: self.owner
        )
        # The safety net below the events.
        self._everything = Periodic(
            clock,
            f"full look at provider {config.name}",
            context.intervals.cleanup,
            self._look_at_everything,
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
                ),
                self,
                admission,
                events=self._context.events,
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
        self._unsubscribe = [
            store.nodes.subscribe(self._on_node),
            store.when_current(self._on_current),
            self._ownership.subscribe(self._on_owner),
        ]
        self._withdrawn.start()
        super().startService()
        self._go()

    def stopService(self) -> Deferred[Any]:
        """End all looks, let transactions under way end by themselves."""
        self._phase = Phase.STOPPED
        for unsubscribe in self._unsubscribe:
            unsubscribe()
        self._unsubscribe = []
        self._withdrawn.stop()
        ended = self._quiesce()
        self._reconciler.hosts.cancel()
        self._handout.cancel()
        self._drain.cancel()
        return gatherResults([ended, super().stopService()])

    def idle(self) -> Deferred[None]:
        """See :meth:`ProviderService.idle`.

        Looks at machines that are under way are waited for, those in line are
        given up.
        """
        if self._phase in (Phase.ACTIVE, Phase.DRAINING):
            self._phase = Phase.IDLE
            self._idling = self._quiesce()
        waited_for = self._idling if self._phase is Phase.IDLE else None
        return shielded(waited_for or self._quiesce()).addCallback(lambda _: None)

    def retired(self) -> Deferred[None]:
        """See :meth:`ProviderService.retired`: nothing here outlasts being idled."""
        return self.idle()

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
        self._handout.open()
        self._reconciler.start()
        self._catch_up_if_owner()
        self._on_progress()

    def _take_phase(self) -> None:
        self._phase = Phase.ACTIVE
        if self._drain.wanted:
            self._phase = Phase.DRAINING
            for pool in self._pools:
                pool.idle().addCallback(lambda _: self._on_progress())

    def _quiesce(self) -> Deferred[Any]:
        """Begin nothing more; fires when what is under way has ended."""
        self._catching_up.cancel()
        under_way = [
            *(pool.idle() for pool in self._pools),
            self._handout.close(),
            self._reconciler.halt(),
            self._everything.stopService(),
        ]
        return gatherResults(under_way)

    # -- what it may do --------------------------------------------------

    @property
    def owner(self) -> bool:
        """This launcher looks after the provider."""
        return self._ownership is not None and self._ownership.held

    def _may_act(self) -> bool:
        return (
            self._phase in (Phase.ACTIVE, Phase.DRAINING)
            and self._context.store.current
            and self.owner
            and self._caught_up
        )

    def _mode(self) -> Mode:
        return Mode.DRAINING if self._drain.removes else Mode.ACTIVE

    # -- what wakes it ---------------------------------------------------

    def _on_node(self, change: NodeChange) -> None:
        if self.config.name in change.concerns:
            self._handout.follow(change)
            self._reconciler.follow(change)

    def _on_current(self, current: bool) -> None:
        if current:
            self._reconciler.on_current()
            self._catch_up_if_owner()

    def _on_owner(self, held: bool) -> None:
        self._caught_up = False
        self._catch_up_if_owner()

    def _catch_up_if_owner(self) -> None:
        if self._phase in (Phase.ACTIVE, Phase.DRAINING) and self.owner and not self._caught_up:
            self._catching_up.cancel()
            self._catching_up.run("catching up with the owner before", self._catch_up())

    async def _catch_up(self) -> None:
        """See all that was done before, or it would be done again."""
        try:
            await self._context.store.barrier()
        except Uncertain as e:
            self._log.debug("not caught up: {reason}", reason=str(e))
            return
        self._caught_up = True
        self._handout.release_all()
        self._reconciler.forget_hosts()
        self._reconciler.mark_all()

    def _on_withdrawn(self, machines: Iterable[Identity]) -> None:
        """An operator took these out of service, or returned them."""
        self._handout.release_all()
        self._reconciler.begin_anew(machines)

    def _on_drain(self) -> None:
        self._reconciler.mark_all()
        self._on_progress()

    def _on_progress(self) -> None:
        """See whether there is anything left to drain."""
        if self._phase is not Phase.DRAINING or any(pool.in_flight() for pool in self._pools):
            return
        empty = (
            self._context.store.current
            and not len(self._reconciler.slots)
            and self._reconciler.settled
        )
        if empty or self._drain.left_to_others:
            self._drain.finish()

    async def _look_at_everything(self) -> None:
        self._reconciler.mark_all()

    # -- for the pools ---------------------------------------------------

    def check(self, node: Node) -> Deferred[bool]:
        """See :meth:`nodepool_tx.pools.interface.NodeSource.check`."""
        return self._handout.check(node)

    # -- telling ---------------------------------------------------------

    def measures(self) -> Measures:
        """See :meth:`nodepool_tx.providers.interface.Measured.measures`."""
        return Measures(
            waiting={pool.pool: pool.waiting for pool in self._pools},
            loops=(Loop(*self._everything.health),),
            hosts=health(self._desired, self._reconciler.hosts, self._withdrawn.record),
        )

    def status(self) -> ProviderStatus:
        return self.with_hosts(self.brief(), tuple(self.hosts()))

    def hosts(self) -> Iterator[Mapping[str, Any]]:
        """See :meth:`nodepool_tx.providers.interface.HasHosts`."""
        return host_statuses(
            self._desired, self._reconciler, self._context.store.nodes, self._withdrawn.record
        )

    def with_hosts(
        self, brief: ProviderStatus, hosts: tuple[Mapping[str, Any], ...]
    ) -> ProviderStatus:
        """See :meth:`nodepool_tx.providers.interface.HasHosts`."""
        return attrs.evolve(
            brief,
            details={**brief.details, "hosts": hosts},
            troubles=(*brief.troubles, *troubles(hosts)),
        )

    def brief(self) -> ProviderStatus:
        """See :meth:`nodepool_tx.providers.interface.HasHosts`."""
        under_way = (*self._reconciler.tasks(), *self._handout.tasks())
        return ProviderStatus(
            name=self.config.name,
            driver=self.config.driver,
            phase=self._phase,
            owner=self.owner,
            tasks=(
                *((task.what, task.since) for task in under_way),
                *(entry for pool in self._pools for entry in pool.in_flight()),
            ),
            details={
                "maintenance": shown(self._withdrawn.whole),
                "last_full_look": self._everything.last_success,
            },
            waiting=tuple(f"{pool.name}: {line}" for pool in self._pools for line in pool.waits()),
            troubles=self._withdrawn.lines(),
        )

    def explain(self, request_id: str) -> tuple[PoolExplanation, ...]:
        """See :meth:`ProviderService.explain`."""
        found = (pool.explain(request_id, self._insight) for pool in self._pools)
        return tuple(each for each in found if each is not None)

    def reasons(self, request_id: str) -> tuple[Reason, ...]:
        """See :meth:`ProviderService.reasons`."""
        found = (pool.reason(request_id) for pool in self._pools)
        return tuple(each for each in found if each is not None)
