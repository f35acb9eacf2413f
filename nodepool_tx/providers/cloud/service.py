"""The service of a cloud provider: its pools, its launches, and who looks after its nodes."""

from __future__ import annotations

from collections.abc import Iterable
from random import Random
from typing import Any

import attrs
from twisted.internet.defer import Deferred, gatherResults, succeed
from twisted.internet.task import deferLater

from nodepool_tx.config.cloud import CloudProvider
from nodepool_tx.model import Node, NodeState
from nodepool_tx.nodescan.interface import Scanner
from nodepool_tx.periodic import Periodic
from nodepool_tx.providers.cloud import parts, status
from nodepool_tx.providers.cloud.housekeeping import Housekeeping
from nodepool_tx.providers.cloud.insight import CloudInsight
from nodepool_tx.providers.cloud.interface import CanBeGivenUp, CloudAdapter
from nodepool_tx.providers.cloud.launches import Launches
from nodepool_tx.providers.cloud.leaks import Leaks
from nodepool_tx.providers.cloud.leftovers import InUse
from nodepool_tx.providers.cloud.lost import LostServers
from nodepool_tx.providers.cloud.making import Making
from nodepool_tx.providers.cloud.quota import INTERVAL
from nodepool_tx.providers.cloud.removals import Removals
from nodepool_tx.providers.cloud.sweep import Sweep
from nodepool_tx.providers.interface import Loop, Measures, ProviderContext, ProviderStatus
from nodepool_tx.providers.service import PooledProvider
from nodepool_tx.store.maintenance import in_words
from nodepool_tx.store.nodes import NodeChange
from nodepool_tx.work import Tracker

__all__ = ["CloudProviderService"]


class CloudProviderService(PooledProvider):
    """One cloud provider; see :class:`nodepool_tx.providers.interface.ProviderService`.

    Every launcher makes the nodes of its own requests.  Adopting and removing
    nodes, and what was left over in the cloud, is for the owner alone.

    :param scanner: looks at the servers; the launcher's own, if not given.
    :param random: where jitter and choices come from.
    :param shared: other launchers see the same cloud.
    :ivar making: what the pools ask; see :class:`nodepool_tx.pools.interface.NodeMaker`.
    """

    config: CloudProvider

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
        super().__init__(config, context)
        self._adapter = adapter
        self._tracker = Tracker(context.clock)
        self._account = parts.open_account(
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
        self._sweeping = Periodic(
            context.clock,
            f"sweep of provider {config.name}",
            context.intervals.cleanup,
            self._sweep_up,
        )
        self._make_pools(parts.pool_settings(config), self._insight, self.making)

    # -- life ------------------------------------------------------------

    def _prepare(self) -> None:
        self._adapter.start()
        store = self._context.store
        self._unsubscribe.append(store.maintenance.subscribe(self._on_maintenance))
        self.making.start()

    def _begin(self) -> None:
        self._account.offers.start()
        self._sweeping.startService()
        self._launches.open()
        self._removals.open()
        if self._context.store.current:
            self._account.quota.start()

    def _halt(self) -> Iterable[Deferred[Any]]:
        """Nothing is being decided any more; launches and removals go on."""
        self._housekeeping.close()
        self._removals.close()
        self._tracker.cancel()
        stopped = self._sweeping.stopService()
        return [stopped, self._tracker.idle(), self._tenure.catching_up.idle()]

    async def _stop(self) -> None:
        """Leave every launch to whoever is next, and let go of all locks.

        A server just asked for is waited for a moment, so that it can be
        written down.
        """
        account = self._account
        children = self._stop_pools()
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
        self._stop_following()
        self.making.stop()
        account.breakers.stop()
        await self._adapter.stop()

    def retired(self) -> Deferred[None]:
        """See :meth:`ProviderService.retired`: when all that was begun has ended."""
        return Deferred.fromCoroutine(self._retire())

    async def _retire(self) -> None:
        await self.idle()
        await gatherResults(self._pools.retired())
        while len(self._launches) or len(self._removals):
            await gatherResults([self._launches.idle(), self._removals.idle()])
            # What ends may have a last word, and what waits begins in another turn.
            await deferLater(self._context.clock, 0)

    # -- what wakes it ---------------------------------------------------

    def _follow(self, change: NodeChange) -> None:
        self.making.follow(change)
        self._launches.follow(change)
        self._housekeeping.follow(change)
        if change.after is None:
            if change.before is not None and self._made_room(change.before):
                self._account.quota.freed()
            self._on_progress()

    def _made_room(self, gone: Node) -> bool:
        """A server went with this node, whichever launcher has deleted it.

        One that could be reached, that is: what the quota did not allow leaves servers, too.
        """
        deleted = gone.state is NodeState.DELETING and gone.interface_ip is not None
        return deleted and gone.provider == self._account.name

    def _on_ended(self, node_id: str, crashed: bool) -> None:
        """Nothing is done here any more about a node: see what is to be done next."""
        if crashed:
            self._housekeeping.shun(node_id)
        if self._working:
            self._housekeeping.mark(node_id)
            self._on_progress()

    def _on_current(self) -> None:
        if self._working:
            self._account.quota.start()
            self._look_again()

    def _on_maintenance(self) -> None:
        """Its stock may have to go; what was to go may stay."""
        if self._working:
            self._look_again()

    def _why_withdrawn(self) -> str:
        """Why an operator took the provider out of service, in words; "" if nobody did."""
        record = self._context.store.maintenance.of_provider(self.config.name)
        return "" if record is None else in_words(record, self._context.clock.seconds())

    def _look_again(self) -> None:
        self._housekeeping.mark_all()

    async def _look_at_everything(self) -> None:
        await super()._look_at_everything()
        self._on_progress()

    async def _sweep_up(self) -> None:
        if self._may_look_after():
            await self._tracker.run("sweeping up what is left over", self._sweep.round())
        else:
            self._sweep.skip()

    # -- giving it up ----------------------------------------------------

    def _on_drain(self) -> None:
        if self._drain.removes:
            self._launches.close()
            self._launches.cut_off()
        super()._on_drain()

    def _emptied(self) -> bool:
        return (
            self.config.name not in self._context.store.nodes.providers()
            and not len(self._launches)
            and not len(self._removals)
        )

    def _given_up(self) -> None:
        if self._drain.removes and isinstance(self._adapter, CanBeGivenUp):
            self._adapter.give_up()

    # -- for the pools ---------------------------------------------------

    def check(self, node: Node) -> Deferred[bool]:
        """See :meth:`nodepool_tx.pools.interface.NodeSource.check`: used once, they are fit."""
        return succeed(True)

    # -- telling ---------------------------------------------------------

    def measures(self) -> Measures:
        """See :meth:`nodepool_tx.providers.interface.Measured.measures`."""
        quota = self._account.quota.describe()
        return Measures(
            waiting=self._pools.waiting(),
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
        described = status.describe(self._account, len(self._launches), self._removals, self._leaks)
        return self._status(
            (
                *self._launches.tasks(),
                *self._removals.tasks(),
                *((task.what, task.since) for task in self._tenure.catching_up.tasks()),
                *((task.what, task.since) for task in self._tracker.tasks()),
            ),
            {
                **attrs.asdict(described, recurse=False),
                **self._details(),
                "last_sweep": self._sweeping.last_success,
            },
            (
                *([withdrawn] if withdrawn else []),
                *status.troubles_of(described, self._leaks),
            ),
        )
