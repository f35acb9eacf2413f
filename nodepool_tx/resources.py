"""Arithmetic with amounts of resources: quotas, limits, and what nodes use of them.

The names are those of Nodepool's records: ``cores``, ``instances``, ``ram``
(MiB), ``volumes``, ``volume-gb`` (GiB), and whatever else a driver counts.
A resource that a limit does not name is not limited; one that a use does not
name is not used.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

__all__ = ["Amounts", "difference", "exceeded", "lowest", "number", "shortage", "total"]

#: Resource to amount; infinite is allowed in a limit.
Amounts = Mapping[str, float]


def total(*amounts: Amounts) -> dict[str, float]:
    """All of them together."""
    result: dict[str, float] = {}
    for each in amounts:
        for resource, amount in each.items():
            result[resource] = result.get(resource, 0) + amount
    return result


def difference(limits: Amounts, used: Amounts) -> dict[str, float]:
    """What is left of limits; below nothing where more is used than allowed."""
    return {resource: limit - used.get(resource, 0) for resource, limit in limits.items()}


def lowest(*limits: Amounts) -> dict[str, float]:
    """The limits that hold when all of these do."""
    result: dict[str, float] = {}
    for each in limits:
        for resource, limit in each.items():
            result[resource] = min(limit, result.get(resource, limit))
    return result


def shortage(limits: Amounts, used: Amounts, needed: Amounts) -> dict[str, float]:
    """How much more would be needed for ``needed`` on top of ``used``; empty if it fits.

    A resource of which nothing is needed is never short, however much of it
    is in use.
    """
    return {
        resource: over
        for resource, limit in limits.items()
        if needed.get(resource, 0) > 0
        and (over := used.get(resource, 0) + needed[resource] - limit) > 0
    }


def exceeded(limits: Amounts, used: Amounts, needed: Amounts) -> tuple[str, ...]:
    """The names of what is short, in order."""
    return tuple(sorted(shortage(limits, used, needed)))


def number(amount: float) -> str:
    """An amount for people: 8 and not 8.0, 1000000 and not 1e+06."""
    if math.isinf(amount):
        return "unlimited"
    return f"{amount:g}" if amount != int(amount) else str(int(amount))
