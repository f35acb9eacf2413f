"""Choosing what a request gets: from stock, from what is being made, or made for it.

The nodes of a request share one availability zone where the provider makes
nodes: the one in which the most of them are in stock.  A pool that makes no
nodes hands out those it has, and knows no zones.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Collection, Sequence

import attrs

from nodepool_tx.model import Node, NodeRequest, NodeState
from nodepool_tx.pools.accounts import Charge
from nodepool_tx.pools.interface import NodeMaker, Objection, PoolSettings
from nodepool_tx.pools.selection import choose
from nodepool_tx.resources import Amounts, lowest, total
from nodepool_tx.store.nodes import NodeTable
from nodepool_tx.store.usage import Account, resources_of
from nodepool_tx.txzookeeper.lock import Lock

__all__ = ["ANY_ZONE", "Plan", "Planner", "held_lock"]


def held_lock(maker: NodeMaker, node_id: str) -> Lock | None:
    """The maker's lock on a node, unless it was lost."""
    lock = maker.lock_of(node_id)
    return lock if lock is not None and lock.held else None


class _AnyZone:
    """No zone is given; None would be the zone of nodes without one."""


ANY_ZONE = _AnyZone()

#: A zone that is given, or none.
Zone = str | None | _AnyZone


@attrs.frozen
class Plan:
    """What a request for ``labels`` would get.

    :ivar nodes: for each label a node that is there, ready or being made, or
        None for one that is to be made.
    :ivar zone: in which the new ones are to be.
    :ivar charges: one for each label.
    """

    labels: tuple[str, ...]
    nodes: tuple[Node | None, ...]
    zone: str | None
    charges: tuple[Charge, ...]

    @property
    def complete(self) -> bool:
        """Each label has its node, or what is to be made for it is charged for."""
        return len(self.charges) == len(self.labels)

    @property
    def from_stock(self) -> bool:
        """All of it is there, ready to be handed out."""
        return all(node is not None and node.state is NodeState.READY for node in self.nodes)

    @property
    def present(self) -> tuple[Node, ...]:
        return tuple(node for node in self.nodes if node is not None)


class Planner:
    """Plans for the requests of one pool."""

    def __init__(self, nodes: NodeTable, settings: PoolSettings, maker: NodeMaker | None) -> None:
        self._nodes = nodes
        self._settings = settings
        self._maker = maker
        provider, pool = settings.provider, settings.name
        account = Account.of_pool(provider, pool)
        #: Where new nodes count, whoever they are for.
        self.accounts = (Account.of_provider(provider), account)
        self._pool_limits = lowest(settings.limits, {"instances": settings.max_servers})

    def limits(self) -> dict[Account, Amounts]:
        """Of the provider and the pool; none where nothing is made."""
        if self._maker is None:
            return {}
        limits: dict[Account, Amounts] = {self.accounts[1]: self._pool_limits}
        if not self._settings.ignore_provider_quota:
            limits[self.accounts[0]] = self._maker.quota() or {}
        return limits

    def if_all_were_new(
        self, labels: Sequence[str], tenant: str | None
    ) -> tuple[Charge, ...] | None:
        """What nodes for these labels count for when there are none; None if unknown."""
        accounts = self._accounts_of_new(tenant)
        if self._maker is None:
            return (Charge(accounts, {"instances": len(labels)}),)
        needed: dict[str, float] = {}
        for label, count in Counter(labels).items():
            needs = self._maker.needs(self._settings.name, label)
            if needs is None:
                return None
            needed = total(needed, {name: amount * count for name, amount in needs.items()})
        return (Charge(accounts, needed),)

    def plan(
        self,
        request: NodeRequest,
        held_back: Collection[str] = (),
        labels: Sequence[str] | None = None,
        zone: Zone = ANY_ZONE,
    ) -> Plan | Objection:
        """What a request would get now, as if there were no limits.

        :param held_back: ids of nodes that are kept for others.
        :param labels: those it still lacks, where it is not all.
        :param zone: of the nodes it has, where it has some.
        """
        labels = tuple(request.node_types if labels is None else labels)
        nodes = self.from_stock(request, held_back, labels, zone)
        if self._maker is None or None not in nodes:
            charges = [self._charge(node, request.tenant_name) for node in nodes if node]
            return Plan(labels, nodes, None, tuple(charges))
        present = [node for node in nodes if node is not None]
        if present:
            zone = present[0].az
        nodes, zone = self._with_unclaimed(request, held_back, labels, nodes, zone)
        return self._with_new(request, labels, nodes, zone)

    def from_stock(
        self,
        request: NodeRequest,
        held_back: Collection[str] = (),
        labels: Sequence[str] | None = None,
        zone: Zone = ANY_ZONE,
    ) -> tuple[Node | None, ...]:
        """The free nodes that a request could have now, as many as there can be."""
        labels = request.node_types if labels is None else labels
        if self._maker is None:
            return choose(labels, self.candidates, held_back)
        if not request.reuse or request.is_min_ready:
            return (None,) * len(labels)
        if isinstance(zone, _AnyZone) and len(labels) == 1:
            return choose(labels, self.candidates, held_back)
        found = {
            label: [
                node
                for node in self.candidates(label, sys.maxsize)
                if zone is ANY_ZONE or node.az == zone
            ]
            for label in dict.fromkeys(labels)
        }
        best: tuple[Node | None, ...] = (None,) * len(labels)
        for az in dict.fromkeys(node.az for nodes in found.values() for node in nodes):
            there = {
                label: [node for node in nodes if node.az == az] for label, nodes in found.items()
            }
            chosen = choose(labels, lambda label, n, there=there: there[label][:n], held_back)  # type: ignore[misc]
            if chosen.count(None) < best.count(None):
                best = chosen
        return best

    def candidates(self, label: str, at_most: int) -> list[Node]:
        settings = self._settings
        return self._nodes.free_nodes(settings.provider, settings.name, label, at_most)

    def _with_unclaimed(
        self,
        request: NodeRequest,
        held_back: Collection[str],
        labels: Sequence[str],
        nodes: tuple[Node | None, ...],
        zone: Zone,
    ) -> tuple[tuple[Node | None, ...], Zone]:
        """Fill up with what is being made and promised to nobody, in one zone."""
        assert self._maker is not None
        lacking = Counter(label for label, node in zip(labels, nodes, strict=True) if node is None)
        options = {label: self._unclaimed(request, held_back, label) for label in lacking}
        if isinstance(zone, _AnyZone):
            served: Counter[str | None] = Counter()
            for label, count in lacking.items():
                here = Counter(node.az for node in options[label])
                served.update({az: min(count, there) for az, there in here.items()})
            if not served:
                return nodes, zone
            zone = max(served, key=lambda az: served[az])
        left = {
            label: iter([node for node in found if node.az == zone])
            for label, found in options.items()
        }
        taken: set[str] = set()

        def next_of(label: str) -> Node | None:
            for node in left[label]:
                if node.id not in taken:
                    taken.add(node.id)
                    return node
            return None

        filled = tuple(
            node if node is not None else next_of(label)
            for label, node in zip(labels, nodes, strict=True)
        )
        return filled, zone

    def _unclaimed(
        self, request: NodeRequest, held_back: Collection[str], label: str
    ) -> list[Node]:
        """What could be had; first what is promised to the request itself.

        That is the case when it was given up while its nodes were being made.
        """
        assert self._maker is not None
        settings, nodes = self._settings, self._nodes
        unclaimed = self._maker.unclaimed(settings.name, label)
        found = (
            *(node for node in nodes.of_request(request.id) if label in node.type),
            *(node for one in unclaimed if (node := nodes.get(one.id)) is not None),
        )
        return [
            node
            for node in found
            if (node.provider, node.pool) == (settings.provider, settings.name)
            and node.allocated_to in (None, "", request.id)
            and node.id not in held_back
            and not nodes.is_reserved(node.id)
            and (
                node.state is NodeState.BUILDING
                or (node.state is NodeState.READY and node.allocated_to)
            )
            and (not nodes.is_locked(node.id) or held_lock(self._maker, node.id) is not None)
        ]

    def _with_new(
        self,
        request: NodeRequest,
        labels: tuple[str, ...],
        nodes: tuple[Node | None, ...],
        zone: Zone,
    ) -> Plan | Objection:
        maker, pool = self._maker, self._settings.name
        assert maker is not None
        missing = [label for label, node in zip(labels, nodes, strict=True) if node is None]
        charges: list[Charge] = []
        if missing:
            objection = maker.objection(pool, missing)
            if objection is not None:
                return objection
            if maker.quota() is None and not self._settings.ignore_provider_quota:
                reason = "the provider's quota is not known yet"
                return Objection(reason, lasting=False, rule="quota")
        accounts = self._accounts_of_new(request.tenant_name)
        for label, node in zip(labels, nodes, strict=True):
            if node is not None:
                charges.append(self._charge(node, request.tenant_name))
                continue
            needs = maker.needs(pool, label)
            if needs is None:
                reason = f"what a node {label} will use is not known yet"
                return Objection(reason, lasting=False, rule="needs")
            charges.append(Charge(accounts, needs))
        if isinstance(zone, _AnyZone):
            zone = maker.zone_for(pool, labels) if missing else None
        return Plan(labels, nodes, zone, tuple(charges))

    def _charge(self, node: Node, tenant: str | None) -> Charge:
        """What giving a node to a tenant adds."""
        new = tenant and node.tenant_name != tenant
        return Charge((Account.of_tenant(tenant),) if tenant and new else (), resources_of(node))

    def _accounts_of_new(self, tenant: str | None) -> tuple[Account, ...]:
        return (*self.accounts, Account.of_tenant(tenant)) if tenant else self.accounts
