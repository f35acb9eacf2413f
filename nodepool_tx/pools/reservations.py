"""What is spoken for: in use, promised, or kept for somebody who has waited long.

One object for all pools of this process, and for those that a reload is about
to replace: what one of them is about to give out counts for all others.

Design note: a burst cannot overrun a limit
-------------------------------------------
What a decision gives out is reserved in the same reactor turn, and counted
until the node table shows it: from then on the table counts it.  So at no
moment does anything count nowhere.  Other launchers are kept from giving out
the same room by a fence, see :mod:`nodepool_tx.store.fences`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

from twisted.internet.defer import Deferred, DeferredLock
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger

from nodepool_tx.model import Node, NodeState
from nodepool_tx.pools.accounts import Charge, Shortage, needed_by, shortages
from nodepool_tx.pools.tenants import TenantLimits
from nodepool_tx.resources import Amounts, total
from nodepool_tx.store.change import Change, Conflict, Uncertain
from nodepool_tx.store.nodes import NodeChange
from nodepool_tx.store.store import Store
from nodepool_tx.store.usage import Account, accounts_of, resources_of

__all__ = ["Overdrawn", "Reservation", "Reservations"]

#: Seconds after which a node that was created and is not to be seen is looked for.
LOOK_AFTER = 5.0

_NOTHING: Amounts = {}

#: Told of an account that may have room again, and of which resources; None
#: when the limits of all tenants may have changed.
RoomObserver = Callable[[Account | None, Collection[str]], None]

#: Since when a request waits, and its id: the smaller comes first.
Age = tuple[float, str]


class Overdrawn(Conflict):
    """Other launchers have given the tenant so much meanwhile that this is too much."""

    reason = "has no room left for this"


class Reservation:
    """What a decision will use, as long as that cannot be seen in the node table."""

    def __init__(self, charges: Sequence[Charge], owner: Reservations) -> None:
        self._owner = owner
        #: What still counts, by the place of the node.
        self._charges = dict(enumerate(charges))
        self._awaited: dict[str, int] = {}
        self._doubt: IDelayedCall | None = None

    def needed(self, account: Account) -> Amounts:
        """What of it counts in an account."""
        return needed_by(self._charges.values()).get(account, _NOTHING)

    def becomes(self, node_ids: Sequence[str]) -> None:
        """It was written: go on counting each node until the table shows it.

        :param node_ids: one for each charge, in the same order.
        """
        self._awaited = {node_ids[place]: place for place in self._charges}
        for node_id in node_ids:
            if node_id in self._awaited and self._owner.shows(node_id):
                self.settle(node_id)
        if self._awaited:
            for node_id in self._awaited:
                self._owner.expect(node_id, self)
            self._doubt = self._owner.clock.callLater(LOOK_AFTER, self._look)

    def settle(self, node_id: str) -> None:
        """The table shows this one, and counts it."""
        place = self._awaited.pop(node_id, None)
        if place is not None:
            self._owner.count(self._charges.pop(place), -1)
        if not self._awaited:
            self._certain()

    def release(self) -> None:
        """Nothing came of what still counts, or it is gone again."""
        self._certain()
        for node_id in self._awaited:
            self._owner.expect(node_id, None)
        self._awaited = {}
        given_up, self._charges = tuple(self._charges.values()), {}
        for charge in given_up:
            self._owner.count(charge, -1)
        self._owner.tell(given_up)

    def _certain(self) -> None:
        if self._doubt is not None and self._doubt.active():
            self._doubt.cancel()
        self._doubt = None

    def _look(self) -> None:
        """A node that cannot be seen after a barrier is gone again."""
        self._doubt = None
        Deferred.fromCoroutine(self._look_behind_barrier())

    async def _look_behind_barrier(self) -> None:
        try:
            await self._owner.barrier()
        except Uncertain:
            self._doubt = self._owner.clock.callLater(LOOK_AFTER, self._look)
        else:
            self.release()


class Reservations:
    """What all pools of this process may still give out.

    :ivar tenant_limits: what tenants are limited to.
    :ivar being_taken: requests that a pool is just taking: of ten that all want
        a new one, nine need not ask ZooKeeper for its lock.
    """

    _log = Logger()

    def __init__(self, store: Store, tenant_limits: TenantLimits) -> None:
        self._store = store
        self.tenant_limits = tenant_limits
        self.clock = store.clock
        self.being_taken: set[str] = set()
        self._reserved: dict[Account, dict[str, float]] = {}
        self._expected: dict[str, Reservation] = {}
        #: For whom room is kept, which pool asked for it, and how much.
        self._kept: dict[Account, tuple[Age, Account, Amounts]] = {}
        self._keeping: dict[tuple[Account, Age], set[Account]] = {}
        self._turns: dict[str, DeferredLock] = {}
        self._observers: list[RoomObserver] = []
        store.nodes.subscribe(self._on_node)
        tenant_limits.subscribe(self._on_limits)

    # -- judging ---------------------------------------------------------

    def used(self, account: Account) -> Amounts:
        """What is in use or promised."""
        used = self._store.nodes.usage.used(account)
        reserved = self._reserved.get(account)
        return total(used, reserved) if reserved else used

    def shortages(
        self, charges: Iterable[Charge], limits: Mapping[Account, Amounts], age: Age
    ) -> tuple[Shortage, ...]:
        """What stands in the way of a request that waits since ``age``.

        :param limits: of the accounts, but for tenants.
        """
        if not limits and not self.tenant_limits.any:
            return ()
        needed = needed_by(charges)
        return shortages(
            needed,
            self.with_tenants(needed, limits),
            self.used,
            lambda account: self._kept_from(account, age),
        )

    def is_short(self, short: Shortage) -> bool:
        """What was short still is, whatever else may be."""
        used = self._store.nodes.usage.used_of(short.account, short.resource)
        reserved = self._reserved.get(short.account, _NOTHING).get(short.resource, 0)
        return used + reserved + short.needed > short.limit

    def alone(
        self, charges: Iterable[Charge], limits: Mapping[Account, Amounts]
    ) -> tuple[Shortage, ...]:
        """What would stand in the way if nothing were in use."""
        needed = needed_by(charges)
        return shortages(needed, self.with_tenants(needed, limits), lambda account: _NOTHING)

    def with_tenants(
        self, accounts: Iterable[Account], limits: Mapping[Account, Amounts]
    ) -> Mapping[Account, Amounts]:
        """These limits, and those of the tenants among the accounts."""
        tenants = {
            account: limit
            for account in accounts
            if account.kind == "tenant" and (limit := self.tenant_limits.of(account.name))
        }
        return {**limits, **tenants} if tenants else limits

    def spoken_for(self) -> Mapping[Account, Amounts]:
        """What is promised and not in the node table yet."""
        return {account: dict(amounts) for account, amounts in self._reserved.items()}

    # -- reserving -------------------------------------------------------

    def reserve(self, charges: Sequence[Charge]) -> Reservation:
        """Count this from now on, before it can be seen."""
        for charge in charges:
            self.count(charge, 1)
        return Reservation(charges, self)

    async def commit(
        self, change: Change, reservation: Reservation, tenant: str | None
    ) -> tuple[str, ...]:
        """Commit a change that gives nodes to a tenant, within its limit over all launchers.

        :raises Conflict: as :meth:`Change.commit`; or others gave to the tenant
            meanwhile.
        :raises Uncertain: the connection broke.
        """
        limits = self.tenant_limits.of(tenant)
        if tenant is None or limits is None:
            return await change.commit()
        account = Account.of_tenant(tenant)
        turn = self._turns.setdefault(tenant, DeferredLock())
        await turn.acquire()
        try:
            version = await self._store.fences.approach(tenant)
            used = self.used(account)
            if any(used.get(r, 0) > limits.get(r, math.inf) for r in reservation.needed(account)):
                raise Overdrawn("tenant", tenant)
            change.pass_fence(tenant, version)
            created = await change.commit()
            self._store.fences.passed(tenant, version)
            return created
        finally:
            turn.release()

    # -- keeping ---------------------------------------------------------

    def keep(self, pool: Account, age: Age, shortages: Iterable[Shortage]) -> bool:
        """Let nobody younger have what a request is short of in a pool, if that can help.

        Only the oldest of those who ask for an account has it kept.  It does
        not help where nodes on hold take up the room; then nothing is kept.
        """
        wanted: dict[Account, dict[str, float]] = {}
        for short in shortages:
            held = self._store.nodes.usage.held(short.account).get(short.resource, 0)
            if short.needed > short.limit - held:
                self.forget(pool, age)
                return False
            wanted.setdefault(short.account, {})[short.resource] = short.needed
        for account in self._keeping.get((pool, age), set()) - wanted.keys():
            self._let_go(account)
        for account, amounts in wanted.items():
            kept = self._kept.get(account)
            if kept is None or age <= kept[0]:
                if kept is not None:
                    self._keeping[kept[1], kept[0]].discard(account)
                self._kept[account] = (age, pool, amounts)
                self._keeping.setdefault((pool, age), set()).add(account)
        return True

    def forget(self, pool: Account, age: Age) -> None:
        """Keep nothing for a request of a pool any more."""
        for account in tuple(self._keeping.get((pool, age), ())):
            self._let_go(account)
        self._keeping.pop((pool, age), None)

    def _let_go(self, account: Account) -> None:
        age, pool, amounts = self._kept.pop(account)
        self._keeping[pool, age].discard(account)
        self._tell(account, amounts)

    def is_kept(self, account: Account, age: Age) -> bool:
        """Room in the account is kept for somebody as old as this, or older."""
        kept = self._kept.get(account)
        return kept is not None and kept[0] <= age

    def _kept_from(self, account: Account, age: Age) -> Amounts:
        kept = self._kept.get(account)
        return kept[2] if kept is not None and kept[0] < age else _NOTHING

    # -- following -------------------------------------------------------

    def subscribe(self, observer: RoomObserver) -> Callable[[], None]:
        """Hear which account may have room again; returns its removal."""
        self._observers.append(observer)
        return lambda: self._observers.remove(observer)

    def _on_limits(self) -> None:
        self._tell(None, ())

    def _on_node(self, change: NodeChange) -> None:
        if change.after is not None:
            awaiting = self._expected.pop(change.node_id, None)
            if awaiting is not None:
                awaiting.settle(change.node_id)
        before, after = change.before, change.after
        if before is None or before is after:
            return
        accounts, amounts = accounts_of(before), resources_of(before)
        still: tuple[Account, ...] = ()
        now, held = _NOTHING, _held(before) != _held(after)
        if after is not None:
            still, now = accounts_of(after), resources_of(after)
            if still == accounts and now == amounts and not held:
                return
        for account in accounts:
            counted = now if account in still else _NOTHING
            freed = [r for r, amount in amounts.items() if counted.get(r, 0) < amount or held]
            if freed:
                self._tell(account, freed)

    def _tell(self, account: Account | None, resources: Collection[str]) -> None:
        for observer in tuple(self._observers):
            try:
                observer(account, resources)
            except Exception:
                self._log.failure(
                    "somebody failed who was told of room of {account}", account=account
                )

    # -- for reservations ------------------------------------------------

    def count(self, charge: Charge, sign: int) -> None:
        """Add a charge, or take it back."""
        for account in charge.accounts:
            sums = self._reserved.setdefault(account, {})
            for resource, amount in charge.amounts.items():
                sums[resource] = sums.get(resource, 0) + sign * amount
                if abs(sums[resource]) < 1e-9:
                    del sums[resource]
            if not sums:
                del self._reserved[account]

    def tell(self, charges: Iterable[Charge]) -> None:
        """These accounts have room again."""
        for account, amounts in needed_by(charges).items():
            self._tell(account, amounts)

    def shows(self, node_id: str) -> bool:
        return self._store.nodes.get(node_id) is not None

    def expect(self, node_id: str, reservation: Reservation | None) -> None:
        """Say when a node is to be seen; None calls it off."""
        if reservation is None:
            self._expected.pop(node_id, None)
        else:
            self._expected[node_id] = reservation

    async def barrier(self) -> None:
        await self._store.barrier()


def _held(node: Node | None) -> bool:
    return node is not None and node.state is NodeState.HOLD
