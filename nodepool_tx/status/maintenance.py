"""What people are shown of what is out of service."""

from __future__ import annotations

from typing import Any

from nodepool_tx.model import Maintenance
from nodepool_tx.status.farm import Farm

__all__ = ["all_maintenance", "maintenance_of_host", "maintenance_of_provider"]


def all_maintenance(farm: Farm) -> list[dict[str, Any]]:
    """Everything out of service."""
    return [_shown(each) for each in farm.store.maintenance.all()]


def maintenance_of_provider(farm: Farm, name: str) -> dict[str, Any] | None:
    """Why a provider is out of service, if it is."""
    found = farm.store.maintenance.of_provider(name)
    return None if found is None else _shown(found)


def maintenance_of_host(farm: Farm, hostname: str) -> dict[str, Any] | None:
    """Why a host is out of service, if it is."""
    found = farm.store.maintenance.of_host(hostname)
    return None if found is None else _shown(found)


def _shown(each: Maintenance) -> dict[str, Any]:
    return {
        "mode": each.mode.value,
        "host": each.host,
        "provider": each.provider,
        "reason": each.reason,
        "since": each.since,
        "until": each.until,
        "by": each.by,
    }
