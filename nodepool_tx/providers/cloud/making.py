"""What the pools of a cloud provider ask of it: see :class:`NodeMaker`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from nodepool_tx.model import Node, NodeRequest, NodeState
from nodepool_tx.pools.interface import NodeMaker, Objection
from nodepool_tx.providers.cloud.account import Account
from nodepool_tx.providers.cloud.housekeeping import Housekeeping
from nodepool_tx.providers.cloud.launches import Launches
from nodepool_tx.providers.cloud.records import planned
from nodepool_tx.resources import Amounts
from nodepool_tx.store.images import ImageChange
from nodepool_tx.store.nodes import NodeChange
from nodepool_tx.txzookeeper.lock import Lock

__all__ = ["Making"]


class Making:
    """Answers the pools from memory, and hands their orders on."""

    def __init__(
        self,
        account: Account,
        launches: Launches,
        housekeeping: Housekeeping,
    ) -> None:
        self._account = account
        self._launches = launches
        self._housekeeping = housekeeping
        #: Pool and label to the nodes being made there for nobody.
        self._unclaimed: dict[tuple[str, str], dict[str, None]] = {}
        self._observers: list[Callable[[], None]] = []
        self._unsubscribe: list[Callable[[], None]] = []

    # -- life ------------------------------------------------------------

    def start(self) -> None:
        """Follow what the answers depend on."""
        account = self._account
        self._unsubscribe = [
            account.offers.subscribe(self._changed),
            account.breakers.subscribe(self._changed),
            account.quota.subscribe(self._changed),
            account.store.images.subscribe(self._on_image),
        ]
        self._unclaimed = {}
        for node in account.store.nodes.of_provider(account.name):
            self._index(node, True)

    def stop(self) -> None:
        for unsubscribe in self._unsubscribe:
            unsubscribe()
        self._unsubscribe = []

    def subscribe(self, observer: Callable[[], None]) -> Callable[[], None]:
        """See :meth:`NodeMaker.subscribe`."""
        self._observers.append(observer)
        return lambda: self._observers.remove(observer)

    def _changed(self) -> None:
        for observer in tuple(self._observers):
            observer()

    def _on_image(self, change: ImageChange) -> None:
        if change.provider == self._account.name:
            self._changed()

    # -- answers ---------------------------------------------------------

    def objection(self, pool: str, labels: Sequence[str]) -> Objection | None:
        """See :meth:`NodeMaker.objection`."""
        passing: Objection | None = None
        for label in dict.fromkeys(labels):
            found = self._objection(pool, label)
            if found is not None and found.lasting:
                return found
            passing = passing or found
        return passing

    def _objection(self, pool: str, label: str) -> Objection | None:
        return next((found for _, found in self.checks(pool, label) if found is not None), None)

    def checks(self, pool: str, label: str) -> Iterator[tuple[str, Objection | None]]:
        """Whatever may keep a label from being made, by name, and whether it does.

        In the order in which they count: the first objection is the answer.
        """
        account = self._account
        configured = account.label(pool, label)
        if configured is None:
            yield "label", Objection(f"there is no label {label} here", True, "label")
            return
        impossible = account.impossible(pool, configured)
        reason = f"label {label} cannot be made: {impossible}"
        yield "label", Objection(reason, True, "label") if impossible is not None else None
        known = account.offers.of(pool, label).needs is not None
        reason = f"what label {label} needs is not known yet"
        yield "needs", None if known else Objection(reason, False, "needs")
        refusal = account.quota.refusal
        yield "refusal", None if refusal is None else Objection(refusal, False, "refusal")
        left_alone = account.breakers.objection(label, account.offers.zones_of(pool))
        yield "breaker", None if left_alone is None else Objection(left_alone, False, "breaker")

    def needs(self, pool: str, label: str) -> Amounts | None:
        """See :meth:`NodeMaker.needs`."""
        return self._account.offers.of(pool, label).needs

    def quota(self) -> Amounts | None:
        """See :meth:`NodeMaker.quota`."""
        return self._account.quota.limits

    def zone_for(self, pool: str, labels: Sequence[str]) -> str | None:
        """See :meth:`NodeMaker.zone_for`; one where all of them may be tried, by chance."""
        account = self._account
        zones = account.offers.zones_of(pool)
        usable = zones
        for label in labels:
            usable = account.breakers.usable_zones(label, usable)
        return account.random.choice(usable or zones)

    def draft(self, pool: str, label: str, request: NodeRequest, zone: str | None) -> Node:
        """See :meth:`NodeMaker.draft`."""
        configured = self._account.pool(pool)
        assert configured is not None, f"there is no pool {pool}"
        return planned(
            configured,
            label,
            request,
            now=self._account.clock.seconds(),
            launcher=self._account.identifier(pool),
            resources=self.needs(pool, label),
            zone=zone,
        )

    # -- nodes under way -------------------------------------------------

    def follow(self, change: NodeChange) -> None:
        """Keep the index of nodes that are promised to nobody."""
        if change.before is not None:
            self._index(change.before, False)
        if change.after is not None:
            self._index(change.after, True)

    def _index(self, node: Node, present: bool) -> None:
        if node.provider != self._account.name or node.state is not NodeState.BUILDING:
            return
        for label in node.type:
            key = (node.pool or "", label)
            if not present:
                nodes = self._unclaimed.get(key, {})
                nodes.pop(node.id, None)
                if not nodes:
                    self._unclaimed.pop(key, None)
            elif not node.allocated_to:
                self._unclaimed.setdefault(key, {})[node.id] = None

    def unclaimed(self, pool: str, label: str) -> Sequence[Node]:
        """See :meth:`NodeMaker.unclaimed`."""
        table = self._account.store.nodes
        found = [
            node
            for node_id in self._unclaimed.get((pool, label), ())
            if (node := table.get(node_id)) is not None
            and not table.is_reserved(node_id)
            and (not table.is_locked(node_id) or self.lock_of(node_id) is not None)
        ]
        return sorted(
            found, key=lambda n: (n.interface_ip is None, n.external_id is None, n.state_time, n.id)
        )

    def lock_of(self, node_id: str) -> Lock | None:
        """See :meth:`NodeMaker.lock_of`."""
        return self._launches.lock_of(node_id)

    def make(self, node_id: str, request: NodeRequest) -> None:
        """See :meth:`NodeMaker.make`."""
        pool = self._account.store.nodes.get(node_id)
        self._launches.start(node_id, pool.pool if pool else None, request, fit=_to_be_made)

    def why_failed(self, node_id: str) -> str:
        """See :meth:`NodeMaker.why_failed`."""
        return self._launches.last_error(node_id)

    def make_room(self, nodes: Sequence[Node]) -> None:
        """See :meth:`NodeMaker.make_room`."""
        self._housekeeping.make_room(nodes)


def _to_be_made(node: Node) -> bool:
    return node.state in (NodeState.INIT, NodeState.BUILDING)


def _is_a_maker(making: Making) -> NodeMaker:
    return making
