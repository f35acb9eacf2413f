"""Which groups of requests wait for room in which account."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence

from nodepool_tx.pools.accounts import Shortage
from nodepool_tx.pools.queue import Group
from nodepool_tx.store.usage import Account

__all__ = ["Shortfalls"]


class Shortfalls:
    """Groups by what they were short of when they were last looked at."""

    def __init__(self) -> None:
        self._by_account: dict[tuple[Account, str], dict[Group, None]] = {}
        #: How many groups wait for each account.
        self._groups: Counter[Account] = Counter()
        self._of: dict[Group, tuple[Shortage, ...]] = {}

    def put(self, group: Group, shortages: Sequence[Shortage]) -> None:
        """A group waits for this, and for nothing else that it was short of before."""
        self.discard(group)
        self._of[group] = tuple(shortages)
        self._groups.update({short.account for short in shortages})
        for short in shortages:
            self._by_account.setdefault((short.account, short.resource), {})[group] = None

    def discard(self, group: Group) -> None:
        shortages = self._of.pop(group, ())
        self._groups.subtract({short.account for short in shortages})
        for short in shortages:
            key = (short.account, short.resource)
            groups = self._by_account.get(key, {})
            groups.pop(group, None)
            if not groups:
                self._by_account.pop(key, None)

    def of(self, group: Group) -> tuple[Shortage, ...]:
        return self._of.get(group, ())

    def short_of(self, account: Account, resources: Collection[str]) -> list[Group]:
        """The groups that wait for any of these resources of an account."""
        keys = ((account, resource) for resource in resources)
        return [group for key in keys for group in self._by_account.get(key, ())]

    def in_accounts(self, accounts: Collection[Account]) -> bool:
        """Somebody waits for room in one of these."""
        return any(self._groups[account] > 0 for account in accounts)
