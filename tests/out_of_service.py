"""What operators do: taking hosts and providers out of service in a ZooKeeper in memory."""

from __future__ import annotations

from typing import Any

from nodepool_tx.model import Maintenance, MaintenanceMode
from nodepool_tx.store import paths
from nodepool_tx.store.maintenance import encode_maintenance
from nodepool_tx.testing.zk_inspector import Inspector

__all__ = ["host_record", "path_of", "provider_record", "put_back", "take_out"]


def host_record(name: str = "h1", **changes: Any) -> Maintenance:
    """A host that is worked on."""
    fields: dict[str, Any] = {
        "mode": MaintenanceMode.MAINTAIN,
        "host": name,
        "reason": "new disk",
        "since": 900.0,
        "by": "anna@desk",
    }
    return Maintenance(**{**fields, **changes})


def provider_record(name: str = "rack", **changes: Any) -> Maintenance:
    """A provider that is drained."""
    fields: dict[str, Any] = {
        "mode": MaintenanceMode.DRAIN,
        "provider": name,
        "reason": "moving house",
        "since": 900.0,
        "by": "anna@desk",
    }
    return Maintenance(**{**fields, **changes})


def path_of(record: Maintenance) -> str:
    if record.host is not None:
        return paths.maintenance_of_host(record.host)
    assert record.provider is not None
    return paths.maintenance_of_provider(record.provider)


def take_out(inspector: Inspector, record: Maintenance) -> Maintenance:
    """Write a record, in place of the one there is."""
    path = path_of(record)
    if inspector.stat(path) is None:
        inspector.create(path, encode_maintenance(record))
    else:
        inspector.set(path, encode_maintenance(record))
    return record


def put_back(inspector: Inspector, record: Maintenance) -> None:
    inspector.delete(path_of(record))
