"""What the users of leases can have done: ask, look, wait, renew, give back.

Everything is checked against ZooKeeper as it is now, so it does not matter
which launcher somebody asks, nor whether it is the same one each time.
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Callable, Sequence

import attrs
from twisted.internet.interfaces import IReactorTime

from nodepool_tx.config.operations import Leases
from nodepool_tx.config.schema import Config
from nodepool_tx.leases.plan import NOT_RENEWED, End, granted_ttl, lost_nodes, own_nodes
from nodepool_tx.leases.steps import ending, renewing
from nodepool_tx.model import Node, NodeRequest, RequestState
from nodepool_tx.store.change import Conflict, Locked, Moved, Uncertain
from nodepool_tx.store.leases import Lease, LeaseState
from nodepool_tx.store.store import Store

__all__ = ["Busy", "Desk", "KeyTaken", "Over", "TooMany", "UnknownLabels", "Unsure", "Wish"]

#: How often a change is tried anew when somebody else was faster.
ATTEMPTS = 5


@attrs.frozen
class Wish:
    """What somebody asks for.

    :ivar ttl: seconds; None for what is configured.
    :ivar key: names the wish, so that asking again does not ask twice.
    """

    labels: tuple[str, ...]
    ttl: float | None = None
    priority: int = 100
    comment: str = ""
    key: str = ""


class UnknownLabels(Exception):
    """No pool online offers some labels.

    :ivar labels: those.
    """

    def __init__(self, labels: tuple[str, ...]) -> None:
        super().__init__(", ".join(labels))
        self.labels = labels


class TooMany(Exception):
    """Somebody has as many leases as they may."""


class KeyTaken(Exception):
    """The key was used for something else."""


class Over(Exception):
    """Nothing comes of the lease any more.

    :ivar lease: as it is.
    """

    def __init__(self, lease: Lease) -> None:
        super().__init__(lease.reason)
        self.lease = lease


class Busy(Exception):
    """It cannot be done now; nothing has happened."""


class Unsure(Exception):
    """The connection to ZooKeeper broke: it may have happened."""


class Desk:
    """Does it, by the configuration of the moment.

    :param requests_of: the requests made for the lease of an id.
    """

    def __init__(
        self,
        clock: IReactorTime,
        store: Store,
        config: Callable[[], Config],
        requests_of: Callable[[str], Sequence[NodeRequest]],
    ) -> None:
        self._clock = clock
        self._store = store
        self._config = config
        self._requests_of = requests_of
        #: The ids of each user's leases that are being made.
        self._making: dict[tuple[str, str], set[str]] = {}

    # -- looking ---------------------------------------------------------

    async def find(self, lease_id: str, owner: tuple[str, str]) -> Lease | None:
        """Somebody's lease; None if they have none of that id.

        :raises Busy: ZooKeeper is away.
        """
        lease = self._store.leases.get(lease_id)
        if lease is None or self._lacks_nodes(lease):
            # It may have been made elsewhere a moment ago, or be seen before its nodes are.
            await self._catch_up()
            lease = self._store.leases.get(lease_id)
        self._check_current()
        return lease if lease is not None and lease.owner == owner else None

    async def all_of(self, owner: tuple[str, str]) -> list[Lease]:
        """Somebody's leases, oldest first.

        :raises Busy: ZooKeeper is away.
        """
        await self._catch_up()
        return self._store.leases.of_owner(*owner)

    def nodes_of(self, lease: Lease) -> tuple[Node, ...]:
        """The nodes that are held for it, in the order of its labels."""
        if lease.state is not LeaseState.READY:
            return ()
        return own_nodes(lease, self._store.nodes.get)

    def _lacks_nodes(self, lease: Lease) -> bool:
        return lease.state is LeaseState.READY and len(self.nodes_of(lease)) < len(lease.nodes)

    def request_of(self, lease: Lease) -> NodeRequest | None:
        """Its request, while that waits."""
        return min(self._requests_of(lease.id), key=lambda each: each.id, default=None)

    # -- changing --------------------------------------------------------

    async def ask(
        self, owner: tuple[str, str], wish: Wish, settings: Leases, tenant: str | None
    ) -> tuple[Lease, bool]:
        """Make a lease; it, and whether it is a new one.

        :raises UnknownLabels: a label is none.
        :raises TooMany: they have too many.
        :raises KeyTaken: the key is that of another wish of theirs.
        :raises Busy: ZooKeeper is away.
        :raises Unsure: it may have been made.
        """
        self._check_current()
        lease_id = _id_for(owner, wish.key)
        if wish.key:
            known = await self.find(lease_id, owner)
            if known is not None:
                return _same(known, wish), False
        self._check_labels(wish.labels)
        present = self._open(owner) | self._making.get(owner, set())
        if len(present | {lease_id}) > settings.max_leases:
            raise TooMany
        making = self._making.setdefault(owner, set())
        making.add(lease_id)
        try:
            return await self._make(lease_id, owner, wish, settings, tenant)
        finally:
            making.discard(lease_id)
            if not making:
                self._making.pop(owner, None)

    def _open(self, owner: tuple[str, str]) -> set[str]:
        return {lease.id for lease in self._store.leases.of_owner(*owner) if not lease.over}

    def _check_labels(self, labels: tuple[str, ...]) -> None:
        pools = self._store.components.pools()
        offered = frozenset[str]().union(*(pool.supported_labels for pool in pools))
        unknown = tuple(label for label in dict.fromkeys(labels) if label not in offered)
        if unknown:
            raise UnknownLabels(unknown)

    async def _make(
        self,
        lease_id: str,
        owner: tuple[str, str],
        wish: Wish,
        settings: Leases,
        tenant: str | None,
    ) -> tuple[Lease, bool]:
        now = self._clock.seconds()
        ttl = self._granted(wish.ttl, settings)
        lease = Lease(
            id=lease_id,
            user=owner[0],
            how=owner[1],
            labels=wish.labels,
            created=now,
            since=now,
            expires=now + ttl,
            ttl=ttl,
            priority=wish.priority,
            tenant=tenant,
            comment=wish.comment,
            key=wish.key,
        )
        request = NodeRequest(
            state=RequestState.REQUESTED,
            state_time=now,
            node_types=wish.labels,
            event_id=lease_id,
            created_time=now,
            tenant_name=tenant,
        )
        change = self._store.change()
        made: list[str] = []
        self._store.leases.make_in(change, lease, request, made.append)
        try:
            await change.commit()
            # It counts among its user's from now on.
            await self._store.barrier()
        except Moved:
            # The same was asked twice at the same time.
            known = await self.find(lease_id, owner)
            if known is None:
                raise Busy from None
            return _same(known, wish), False
        except Conflict as e:
            raise Busy(str(e)) from e
        except Uncertain as e:
            raise Unsure(str(e)) from e
        return attrs.evolve(lease, request=made[0], version=0), True

    async def renew(self, lease: Lease, ttl: float | None, settings: Leases) -> Lease:
        """Begin its time anew, which may also make it shorter.

        :param ttl: seconds; None for as long as it was granted the last time.
        :raises Over: it is not there to be renewed.
        :raises Busy: ZooKeeper is away, or somebody else has a node in hand.
        :raises Unsure: it may have been renewed.
        """
        for _ in range(ATTEMPTS):
            now = self._clock.seconds()
            if lease.over or now >= lease.expires:
                raise Over(attrs.evolve(lease, reason=lease.reason or NOT_RENEWED))
            nodes = self.nodes_of(lease)
            if len(nodes) < len(lease.nodes):
                raise Over(attrs.evolve(lease, reason="a node of it was taken away"))
            seconds = self._granted(lease.ttl if ttl is None else ttl, settings)
            change, renewed = renewing(self._store, lease, nodes, seconds, now)
            try:
                await change.commit()
            except Conflict as e:
                lease = await self._again(lease, e)
            except Uncertain as e:
                raise Unsure(str(e)) from e
            else:
                return renewed
        raise Busy("others change it all the time")

    async def give_back(self, lease: Lease, reason: str) -> Lease:
        """End a lease; one that is over already stays as it is.

        :raises Busy: ZooKeeper is away, or somebody else has a node in hand.
        :raises Unsure: it may have been ended.
        """
        for _ in range(ATTEMPTS):
            if lease.over:
                return lease
            request = self.request_of(lease) if lease.state is LeaseState.WAITING else None
            lost = lost_nodes(lease, self._store.nodes.get)
            step = End(LeaseState.ENDED, reason, self.nodes_of(lease), request, lost)
            change, over = ending(self._store, lease, step, self._clock.seconds())
            try:
                await change.commit()
            except Conflict as e:
                lease = await self._again(lease, e)
            except Uncertain as e:
                raise Unsure(str(e)) from e
            else:
                return over
        raise Busy("others change it all the time")

    # -- small steps -----------------------------------------------------

    def _granted(self, ttl: float | None, settings: Leases) -> float:
        asked = settings.ttl if ttl is None else ttl
        return granted_ttl(asked, settings.max_ttl, self._config().max_hold_age)

    async def _again(self, lease: Lease, conflict: Conflict) -> Lease:
        """The lease as it is now, after somebody else was faster."""
        if isinstance(conflict, Locked) and conflict.what == "node":
            raise Busy(str(conflict)) from conflict
        await self._catch_up()
        now = self._store.leases.get(lease.id)
        if now is None:
            raise Over(attrs.evolve(lease, reason="it is over"))
        return now

    async def _catch_up(self) -> None:
        self._check_current()
        try:
            await self._store.barrier()
        except Uncertain as e:
            raise Busy(str(e)) from e

    def _check_current(self) -> None:
        if not self._store.current:
            raise Busy("ZooKeeper is away")


def _id_for(owner: tuple[str, str], key: str) -> str:
    """Of a new lease; with a key always the same, and for no two users the same."""
    if not key:
        return uuid.uuid4().hex
    named = "\0".join((*owner, key)).encode()
    return hashlib.sha256(named).hexdigest()[:32]


def _same(lease: Lease, wish: Wish) -> Lease:
    """The lease, if it is for what was asked.

    :raises KeyTaken: it is for something else.
    """
    if (lease.labels, lease.priority, lease.comment) != (wish.labels, wish.priority, wish.comment):
        raise KeyTaken
    return lease
