"""Tenants' limits: how much of everything one tenant may use at a time.

All pools of this process share one object, so that what one of them is about
to give out counts for the others, too.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Collection, Mapping

__all__ = ["TenantLimits", "exceeded", "needs"]

Amounts = Mapping[str, float]


class TenantLimits:
    """The limits in force, and what is being given out at this moment."""

    def __init__(self, limits: Mapping[str, Amounts] | None = None) -> None:
        self._limits: Mapping[str, Amounts] = limits or {}
        self._promised: dict[str, Counter[str]] = {}
        self._observers: list[Callable[[str | None], None]] = []

    @property
    def limits(self) -> Mapping[str, Amounts]:
        """By tenant, by resource; a resource that is not named has none.

        Set as a whole when a configuration comes into force.
        """
        return self._limits

    @limits.setter
    def limits(self, limits: Mapping[str, Amounts]) -> None:
        if limits != self._limits:
            self._limits = limits
            self._tell(None)

    def of(self, tenant: str | None) -> Amounts | None:
        """A tenant's limits, or None if it has none."""
        return self._limits.get(tenant) if tenant else None

    def promised(self, tenant: str) -> Amounts:
        """What is being given to a tenant and not yet in ZooKeeper."""
        return self._promised.get(tenant, {})

    def promise(self, tenant: str | None, amounts: Mapping[str, int]) -> None:
        """Count this from now on, before it can be seen."""
        if tenant:
            self._promised.setdefault(tenant, Counter()).update(amounts)

    def settle(self, tenant: str | None, amounts: Mapping[str, int], *, given: bool) -> None:
        """Count what was promised no more: it was given, or it is free again."""
        if not tenant:
            return
        promised = self._promised.setdefault(tenant, Counter())
        promised.subtract(amounts)
        if not any(promised.values()):
            del self._promised[tenant]
        if not given:
            self._tell(tenant)

    def subscribe(self, observer: Callable[[str | None], None]) -> Callable[[], None]:
        """Hear which tenant may have room again, None for all; returns its removal."""
        self._observers.append(observer)
        return lambda: self._observers.remove(observer)

    def _tell(self, tenant: str | None) -> None:
        for observer in tuple(self._observers):
            observer(tenant)


def exceeded(limits: Amounts, used: Amounts, needed: Amounts) -> tuple[str, ...]:
    """The resources of which ``needed`` on top of ``used`` would be too much."""
    return tuple(
        resource
        for resource in sorted(limits)
        if needed.get(resource, 0)
        and used.get(resource, 0) + needed.get(resource, 0) > limits.get(resource, math.inf)
    )


def needs(labels: Collection[str]) -> Counter[str]:
    """What a request for these labels adds to its tenant's use."""
    return Counter({"instances": len(labels)})
