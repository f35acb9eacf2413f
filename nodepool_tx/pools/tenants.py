"""Tenants' limits: how much of everything one tenant may use at a time."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

from nodepool_tx.resources import Amounts

__all__ = ["TenantLimits"]


class TenantLimits:
    """The limits in force, one object for all pools of this process."""

    def __init__(self, limits: Mapping[str, Amounts] | None = None) -> None:
        self._limits: Mapping[str, Amounts] = limits or {}
        self._finite = _finite(self._limits)
        self._observers: list[Callable[[], None]] = []

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
            self._finite = _finite(limits)
            for observer in tuple(self._observers):
                observer()

    @property
    def any(self) -> bool:
        """Some tenant is limited in something."""
        return bool(self._finite)

    def of(self, tenant: str | None) -> Amounts | None:
        """What a tenant is limited in, or None if it is not."""
        return self._finite.get(tenant) if tenant else None

    def subscribe(self, observer: Callable[[], None]) -> Callable[[], None]:
        """Hear when the limits have changed; returns its removal."""
        self._observers.append(observer)
        return lambda: self._observers.remove(observer)


def _finite(limits: Mapping[str, Amounts]) -> dict[str, Amounts]:
    """The tenants that are limited in anything, without what they are not limited in."""
    finite: dict[str, Amounts] = {}
    for tenant, amounts in limits.items():
        limited = {r: limit for r, limit in amounts.items() if limit != math.inf}
        if limited:
            finite[tenant] = amounts if len(limited) == len(amounts) else limited
    return finite
