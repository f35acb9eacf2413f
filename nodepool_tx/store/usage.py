"""What is in use, added up by account as nodes come and go.

An :class:`Account` is anything that has a limit: a provider, a pool of it, a
tenant.  A node counts in the accounts of all three, with the resources in its
record, from the creation of the record to its removal.
"""

from __future__ import annotations

import enum
import itertools
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import NamedTuple

import attrs

from nodepool_tx.model import Node, NodeState

__all__ = ["LEAVING", "Account", "Usage", "accounts_of", "resources_of"]

#: States of nodes that are on their way out.
LEAVING = frozenset(
    {
        NodeState.USED,
        NodeState.FAILED,
        NodeState.ABORTED,
        NodeState.DELETING,
        NodeState.DELETED,
    }
)

Amounts = Mapping[str, float]
_NOTHING: Amounts = {}
_ONE: Amounts = {"instances": 1}


class Account(NamedTuple):
    """What a limit is set for; a tuple, as it is looked up with every change of a node.

    :ivar name: of the provider, the pool or the tenant.
    :ivar provider: that a pool belongs to.
    """

    kind: str
    name: str
    provider: str = ""

    @classmethod
    def of_provider(cls, name: str) -> Account:
        return cls("provider", name)

    @classmethod
    def of_pool(cls, provider: str, name: str) -> Account:
        return cls("pool", name, provider)

    @classmethod
    def of_tenant(cls, name: str) -> Account:
        return cls("tenant", name)

    def __str__(self) -> str:
        where = f"{self.provider}/" if self.provider else ""
        return f"{self.kind} {where}{self.name}"


def resources_of(node: Node) -> Amounts:
    """What a node counts for.

    A node whose driver recorded nothing (every static one) is one instance.
    """
    return node.resources or _ONE


def accounts_of(node: Node) -> tuple[Account, ...]:
    """Where a node counts."""
    return _accounts(node.provider, node.pool, node.tenant_name)


@lru_cache(maxsize=1000)
def _accounts(provider: str | None, pool: str | None, tenant: str | None) -> tuple[Account, ...]:
    """The same object for all nodes that are alike."""
    found: list[Account] = []
    if provider:
        found.append(Account.of_provider(provider))
        if pool:
            found.append(Account.of_pool(provider, pool))
    if tenant:
        found.append(Account.of_tenant(tenant))
    return tuple(found)


class _Part(enum.IntEnum):
    ALL = 0
    LEAVING = 1
    HELD = 2


#: What is added up: the part of an account.
_Key = tuple[_Part, Account]
#: The sums that a node adds to.
_Keys = frozenset[_Key]

_NO_KEYS: _Keys = frozenset()


def _keys_of(node: Node | None) -> _Keys:
    if node is None:
        return _NO_KEYS
    return _keys(node.provider, node.pool, node.tenant_name, node.state)


@lru_cache(maxsize=1000)
def _keys(provider: str | None, pool: str | None, tenant: str | None, state: NodeState) -> _Keys:
    """The same object for all nodes that are alike."""
    parts = [_Part.ALL]
    if state in LEAVING:
        parts.append(_Part.LEAVING)
    elif state is NodeState.HOLD:
        parts.append(_Part.HELD)
    return frozenset(itertools.product(parts, _accounts(provider, pool, tenant)))


@lru_cache(maxsize=1000)
def _beyond(keys: _Keys, others: _Keys) -> tuple[_Key, ...]:
    """Those that are not among the others; nodes go through few states, over and over."""
    return tuple(keys - others)


class Usage:
    """Sums over nodes, by account; a change of a node costs the same however many there are."""

    def __init__(self) -> None:
        self._sums: dict[_Key, dict[str, _Sum]] = {}

    def used(self, account: Account) -> Amounts:
        """What its nodes add up to, by resource."""
        return self._amounts(_Part.ALL, account)

    def used_of(self, account: Account, resource: str) -> float:
        """How much of one resource its nodes use."""
        each = self._sums.get((_Part.ALL, account), {}).get(resource)
        return each.amount if each else 0

    def leaving(self, account: Account) -> Amounts:
        """How much of that is on its way out."""
        return self._amounts(_Part.LEAVING, account)

    def held(self, account: Account) -> Amounts:
        """How much of that somebody keeps for as long as they like."""
        return self._amounts(_Part.HELD, account)

    def _amounts(self, part: _Part, account: Account) -> Amounts:
        sums = self._sums.get((part, account))
        return {resource: each.amount for resource, each in sums.items()} if sums else _NOTHING

    def change(self, before: Node | None, after: Node | None) -> None:
        """Count a node as it is now, and no more as it was."""
        was, now = _keys_of(before), _keys_of(after)
        amounts = _NOTHING if before is None else resources_of(before)
        new_amounts = _NOTHING if after is None else resources_of(after)
        if before is not None and after is not None and amounts == new_amounts:
            if was is not now:
                self._count(_beyond(was, now), amounts, -1)
                self._count(_beyond(now, was), amounts, 1)
        else:
            self._count(was, amounts, -1)
            self._count(now, new_amounts, 1)

    def _count(self, keys: Iterable[_Key], amounts: Amounts, sign: int) -> None:
        for key in keys:
            sums = self._sums.get(key)
            if sums is None:
                sums = self._sums[key] = {}
            for resource, amount in amounts.items():
                each = sums.get(resource)
                if each is None:
                    each = sums[resource] = _Sum()
                each.amount += sign * amount
                each.nodes += sign
                if not each.nodes:
                    del sums[resource]
            if not sums:
                del self._sums[key]


@attrs.define
class _Sum:
    """An amount, and of how many nodes: none leave nothing behind, not even a rounding error."""

    amount: float = 0
    nodes: int = 0
