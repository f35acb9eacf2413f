"""Limits of providers, pools and tenants, judged in one way.

What a request would take is a list of :class:`Charge`, one for each node: a new
node counts for its provider, its pool and its tenant, one that is there already
only for the tenant it is given to.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import attrs

from nodepool_tx.resources import Amounts, number, shortage
from nodepool_tx.store.usage import Account

__all__ = ["Charge", "Shortage", "needed_by", "shortages"]


@attrs.frozen
class Charge:
    """What one node will count for, and in which accounts."""

    accounts: tuple[Account, ...]
    amounts: Amounts


@attrs.frozen
class Shortage:
    """A limit that stands in the way.

    :ivar kept: how much of what is counted as used is kept for an older request.
    """

    account: Account
    resource: str
    limit: float
    used: float
    needed: float
    kept: float = 0

    @property
    def missing(self) -> float:
        """How much would have to come free."""
        return self.used + self.needed - self.limit

    def __str__(self) -> str:
        kept = f", {number(self.kept)} kept for an older request" if self.kept else ""
        return (
            f"waits for {number(self.needed)} {self.resource} of {self.account}'s limit of "
            f"{number(self.limit)}: {number(self.used - self.kept)} used{kept}, "
            f"{number(self.needed)} needed"
        )


def needed_by(charges: Iterable[Charge]) -> dict[Account, dict[str, float]]:
    """What charges add up to, by account."""
    needed: dict[Account, dict[str, float]] = {}
    for charge in charges:
        for account in charge.accounts:
            sums = needed.setdefault(account, {})
            for resource, amount in charge.amounts.items():
                sums[resource] = sums.get(resource, 0) + amount
    return needed


def shortages(
    needed: Mapping[Account, Amounts],
    limits: Mapping[Account, Amounts],
    used: Callable[[Account], Amounts],
    kept: Callable[[Account], Amounts] = lambda account: {},
) -> tuple[Shortage, ...]:
    """Every limit that ``needed`` would exceed; none: there is room for all of it.

    :param used: what is in use or promised, of an account.
    :param kept: what others may not take besides.
    """
    found: list[Shortage] = []
    for account, amounts in needed.items():
        limit = limits.get(account)
        if not limit:
            continue
        in_use, spared = used(account), kept(account)
        if spared:
            in_use = {r: in_use.get(r, 0) + spared.get(r, 0) for r in (*in_use, *spared)}
        found.extend(
            Shortage(
                account,
                resource,
                limit[resource],
                in_use.get(resource, 0),
                amounts[resource],
                spared.get(resource, 0),
            )
            for resource in sorted(shortage(limit, in_use, amounts))
        )
    return tuple(found)
