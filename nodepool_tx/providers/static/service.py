"""The service of a static provider: its pools, and what keeps its nodes in order."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import attrs
from twisted.internet.defer import Deferred, gatherResults

from nodepool_tx.config.schema import StaticProvider
from nodepool_tx.model import Node
from nodepool_tx.providers.interface import Loop, Measures, ProviderContext, ProviderStatus
from nodepool_tx.providers.pooling import settings_of
from nodepool_tx.providers.service import PooledProvider
from nodepool_tx.providers.static.desired import Identity, desired_of
from nodepool_tx.providers.static.handout import HandOut
from nodepool_tx.providers.static.incumbent import Incumbent
from nodepool_tx.providers.static.insight import StaticInsight
from nodepool_tx.providers.static.plan import Mode
from nodepool_tx.providers.static.reconciler import Reconciler
from nodepool_tx.providers.static.status import health, host_statuses, troubles
from nodepool_tx.providers.static.withdrawn import Withdrawn
from nodepool_tx.store.nodes import NodeChange

__all__ = ["StaticProviderService"]


class StaticProviderService(PooledProvider):
    """One static provider; see :class:`nodepool_tx.providers.interface.ProviderService`.

    Its pools hand nodes out whether or not this launcher looks after the
    provider: that is safe, as each hand-out proves that nobody else has the
    node.  Registering, updating and removing nodes is the owner's alone.
    """

    config: StaticProvider

    def __init__(self, config: StaticProvider, context: ProviderContext) -> None:
        super().__init__(config, context)
        clock, store = context.clock, context.store
        self._desired = desired_of(config)
        self._withdrawn = Withdrawn(
            config.name, self._desired, store.maintenance, clock, self._on_withdrawn
        )
        self._incumbent = Incumbent(
            config.name, clock, store.components, lambda: store.current, self._on_incumbent
        )
        self._reconciler = Reconciler(
            config.name,
            self._desired,
            clock,
            store,
            context.scanner,
            self._may_look_after,
            self._tenure.prove,
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
            self._may_look_after,
            self._withdrawn.why,
        )
        self._insight = StaticInsight(
            self._desired,
            self._reconciler,
            clock,
            self._withdrawn.why,
            lambda: self.owner and not self._incumbent.why,
        )
        self._make_pools((settings_of(config, pool) for pool in config.pools), self._insight)

    # -- life ------------------------------------------------------------

    def _prepare(self) -> None:
        self._withdrawn.start()
        self._incumbent.start()

    def _begin(self) -> None:
        self._handout.open()
        self._reconciler.start()

    def _halt(self) -> Iterable[Deferred[Any]]:
        """Looks at machines that are under way are waited for, those in line are given up."""
        return [self._handout.close(), self._reconciler.halt()]

    async def _stop(self) -> None:
        """End all looks, let transactions under way end by themselves."""
        self._stop_following()
        self._withdrawn.stop()
        self._incumbent.stop()
        ended = self._quiesce()
        self._reconciler.hosts.cancel()
        self._handout.cancel()
        self._drain.cancel()
        await gatherResults([ended, self._stop_pools()])

    def _mode(self) -> Mode:
        return Mode.DRAINING if self._drain.removes else Mode.ACTIVE

    def _emptied(self) -> bool:
        return not len(self._reconciler.slots) and self._reconciler.settled

    # -- what it may do --------------------------------------------------

    def _may_look_after(self) -> bool:
        return super()._may_look_after() and not self._incumbent.why

    # -- what wakes it ---------------------------------------------------

    def _follow(self, change: NodeChange) -> None:
        self._handout.follow(change)
        self._reconciler.follow(change)

    def _on_current(self) -> None:
        self._reconciler.on_current()

    def _look_again(self) -> None:
        self._reconciler.mark_all()

    def _on_caught_up(self) -> None:
        self._handout.release_all()
        self._reconciler.forget_hosts()
        self._look_again()

    def _on_incumbent(self) -> None:
        """Somebody who does not know the owner lock looks after the machines, or no longer."""
        self._tenure.begin_anew()

    def _on_withdrawn(self, machines: Iterable[Identity]) -> None:
        """An operator took these out of service, or returned them."""
        self._handout.release_all()
        self._reconciler.begin_anew(machines)

    # -- for the pools ---------------------------------------------------

    def check(self, node: Node) -> Deferred[bool]:
        """See :meth:`nodepool_tx.pools.interface.NodeSource.check`."""
        return self._handout.check(node)

    # -- telling ---------------------------------------------------------

    def measures(self) -> Measures:
        """See :meth:`nodepool_tx.providers.interface.Measured.measures`."""
        return Measures(
            waiting=self._pools.waiting(),
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
        return self._status(
            ((task.what, task.since) for task in under_way),
            self._details(),
            (*self._withdrawn.lines(), *self._left_alone()),
        )

    def _left_alone(self) -> tuple[str, ...]:
        why = self._incumbent.why
        return (f"the machines are left alone: {why}",) if why else ()
