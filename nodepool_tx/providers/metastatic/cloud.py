"""The cloud of a metastatic provider: its table in ZooKeeper and who works on it.

A process has one for each provider, however often the configuration is
reloaded.  The service that was started last says how labels are configured.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import attrs
from twisted.internet.defer import Deferred

from nodepool_tx.config.metastatic import MetastaticLabel, MetastaticProvider
from nodepool_tx.model import Node
from nodepool_tx.providers.cloud.interface import Instance
from nodepool_tx.providers.cloud.within import TooLate, within
from nodepool_tx.providers.interface import ProviderContext
from nodepool_tx.providers.metastatic.backing import Backing
from nodepool_tx.providers.metastatic.claims import Claims
from nodepool_tx.providers.metastatic.instances import instances_of
from nodepool_tx.providers.metastatic.keeper import Keeper
from nodepool_tx.providers.metastatic.lane import Lane
from nodepool_tx.providers.metastatic.table import Table
from nodepool_tx.providers.ownership import Ownership
from nodepool_tx.txzookeeper.interface import SessionState

__all__ = ["Member", "MetastaticCloud"]

#: Seconds for the last releases of a provider that is given up.
LAST_PATIENCE = 5.0


@attrs.define(eq=False)
class Member:
    """One service of the provider.

    :ivar gives_up: its nodes are to go, and so are their backing nodes.
    """

    config: MetastaticProvider
    gives_up: bool = False


@attrs.frozen(eq=False)
class _Parts:
    table: Table
    lane: Lane
    keeper: Keeper
    claims: Claims
    ownership: Ownership
    unsubscribe: tuple[Callable[[], None], ...]


class MetastaticCloud:
    """One provider's slots, as this process sees and gives them out."""

    def __init__(self, context: ProviderContext, provider: str) -> None:
        self._context = context
        self._provider = provider
        self._members: list[Member] = []
        self._parts: _Parts | None = None
        self._waiting: dict[Deferred[None], None] = {}
        #: Record id to what was last made of it.
        self._shown: dict[str, tuple[Backing, Node | None, tuple[Instance, ...]]] = {}

    # -- life ------------------------------------------------------------

    def join(self, member: Member) -> None:
        """Begin to work for a service; its configuration holds from now on."""
        self._members.append(member)
        if self._parts is None:
            self._parts = self._open()
        self._parts.keeper.wake()

    async def leave(self, member: Member) -> None:
        """Work for a service no more."""
        if member not in self._members:
            return
        parts = self._parts
        if len(self._members) == 1 and member.gives_up and parts is not None:
            await self._flush(parts)
        self._members.remove(member)
        if not self._members and parts is not None:
            self._close(parts)
        elif parts is not None:
            parts.keeper.wake()

    async def _flush(self, parts: _Parts) -> None:
        """Release what can be: nobody comes back for it."""
        if self._context.store.client.state is not SessionState.CONNECTED:
            return

        async def flush() -> None:
            await self.ready()
            await parts.keeper.flush()

        try:
            await within(self._context.clock, LAST_PATIENCE, flush())
        except TooLate:
            return

    def _open(self) -> _Parts:
        context, store = self._context, self._context.store
        table = Table(store.client, self._provider)
        claims = Claims(store, table, context.registry, self._provider, self._pools)
        keeper = Keeper(
            store, table, claims, self._provider, self.label, self._gives_up, self._may_act
        )
        ownership = context.ownerships.of(self._provider)
        table.start()
        claims.start()
        keeper.start()
        return _Parts(
            table,
            Lane(store, table, self._provider),
            keeper,
            claims,
            ownership,
            (
                table.subscribe(self._on_progress),
                store.when_current(lambda _: self._on_progress()),
                store.components.subscribe(keeper.wake),
                ownership.subscribe(lambda _: keeper.wake()),
            ),
        )

    def _close(self, parts: _Parts) -> None:
        self._parts = None
        for unsubscribe in parts.unsubscribe:
            unsubscribe()
        parts.keeper.stop()
        parts.claims.stop()
        parts.lane.stop()
        parts.table.stop()
        self._shown = {}

    # -- what is configured ----------------------------------------------

    def label(self, name: str) -> MetastaticLabel | None:
        """A label, as configured now."""
        for pool in self._members[-1].config.pools if self._members else ():
            if name in pool.cloud_labels:
                return pool.cloud_labels[name]
        return None

    def _pools(self) -> Iterator[str]:
        return (pool.name for member in self._members for pool in member.config.pools)

    def _gives_up(self) -> bool:
        return bool(self._members) and self._members[-1].gives_up

    def _may_act(self) -> bool:
        return self._parts is not None and self._parts.ownership.held and self._current

    # -- looking ---------------------------------------------------------

    @property
    def parts(self) -> _Parts:
        assert self._parts is not None, f"provider {self._provider} was not started"
        return self._parts

    @property
    def lane(self) -> Lane:
        """For giving out slots and taking them back."""
        return self.parts.lane

    def wake(self) -> None:
        """See whether anything is to be done that no event announced."""
        self.parts.claims.doubt()
        self.parts.keeper.wake()

    @property
    def _current(self) -> bool:
        return self.parts.table.current and self._context.store.current

    async def ready(self) -> None:
        """Wait until everything is known."""
        while not self._current:
            waiter: Deferred[None] = Deferred(self._forget)
            self._waiting[waiter] = None
            await waiter

    def _forget(self, waiter: Deferred[None]) -> None:
        self._waiting.pop(waiter, None)

    def _on_progress(self) -> None:
        if self._waiting and self._current:
            waiting, self._waiting = self._waiting, {}
            for waiter in waiting:
                waiter.callback(None)
            self.parts.keeper.wake()

    def instances(self) -> Sequence[Instance]:
        """Everything that has a slot; what did not change is the same object as before."""
        shown: dict[str, tuple[Backing, Node | None, tuple[Instance, ...]]] = {}
        found: list[Instance] = []
        for backing in self.parts.table.all():
            node = self._context.store.nodes.get(backing.node or "")
            known = self._shown.get(backing.id)
            if known is None or known[0] is not backing or known[1] is not node:
                known = (backing, node, instances_of(backing, node))
            shown[backing.id] = known
            found += known[2]
        self._shown = shown
        return found
