"""Tenants' limits: how much of everything one tenant may use at a time."""

from __future__ import annotations

import math
from collections.abc import Mapping

__all__ = ["TenantLimits", "exceeded"]

Amounts = Mapping[str, float]


class TenantLimits:
    """The limits of the configuration in force, replaced as a whole on reload.

    :ivar limits: by tenant, by resource; a resource that is not named has none.
    """

    def __init__(self, limits: Mapping[str, Amounts] | None = None) -> None:
        self.limits: Mapping[str, Amounts] = limits or {}

    def of(self, tenant: str | None) -> Amounts | None:
        """A tenant's limits, or None if it has none."""
        return self.limits.get(tenant) if tenant else None


def exceeded(limits: Amounts, used: Amounts, needed: Amounts) -> tuple[str, ...]:
    """The resources of which ``needed`` on top of ``used`` would be too much."""
    return tuple(
        resource
        for resource in sorted(limits)
        if needed.get(resource, 0)
        and used.get(resource, 0) + needed.get(resource, 0) > limits.get(resource, math.inf)
    )
