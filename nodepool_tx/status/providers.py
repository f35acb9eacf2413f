"""What people are shown of providers, their pools, hosts and quotas."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from nodepool_tx.config.schema import UnavailableProvider
from nodepool_tx.providers.interface import HasHosts, Measured, ProviderService, ProviderStatus
from nodepool_tx.status.farm import Farm
from nodepool_tx.status.maintenance import maintenance_of_host, maintenance_of_provider

__all__ = ["gather_provider", "provider_names", "provider_status", "provider_statuses"]

#: What the numbers of a resource are, where that is not just a count.
UNITS = {"ram": "MB", "volume-gb": "GB"}


def provider_statuses(farm: Farm) -> list[dict[str, Any]]:
    """Every provider that runs here, or is configured and cannot."""
    shown = (provider_status(farm, name) for name in sorted(provider_names(farm)))
    return [each for each in shown if each is not None]


def provider_names(farm: Farm) -> set[str]:
    """Of those that :func:`provider_status` can show."""
    names = set(farm.reloader.services())
    if farm.reloader.config is not None:
        names.update(farm.reloader.config.providers)
    return names


def provider_status(farm: Farm, name: str) -> dict[str, Any] | None:
    """One provider; None if there is none of that name."""
    service = farm.reloader.services().get(name)
    if service is not None:
        return _running(farm, service, service.status())
    return _not_running(farm, name)


async def gather_provider(
    farm: Farm, name: str, breathe: Callable[[], Awaitable[None]]
) -> dict[str, Any] | None:
    """The same in several turns of the reactor: there may be thousands of machines.

    :param breathe: is awaited now and then.
    """
    service = farm.reloader.services().get(name)
    if service is None:
        return _not_running(farm, name)
    if not isinstance(service, HasHosts):
        return _running(farm, service, service.status())
    hosts: list[Mapping[str, Any]] = []
    shown: list[dict[str, Any]] = []
    for host in service.hosts():
        hosts.append(host)
        shown.append(_host(farm, host))
        await breathe()
    status = service.with_hosts(service.brief(), tuple(hosts))
    await breathe()
    return _running(farm, service, status, shown)


def _not_running(farm: Farm, name: str) -> dict[str, Any] | None:
    config = farm.reloader.config
    configured = config.providers.get(name) if config is not None else None
    if configured is None:
        return None
    if isinstance(configured, UnavailableProvider):
        return _empty(farm, name, configured.driver, "unavailable", configured.reason)
    why = next(
        (r.rolled_back[name] for r in reversed(farm.reloader.reports) if name in r.rolled_back), ""
    )
    return _empty(farm, name, configured.driver, "not-started", why)


def _running(
    farm: Farm,
    service: ProviderService,
    status: ProviderStatus,
    hosts: list[dict[str, Any]] | None = None,
) -> dict[str, Any]:
    details = status.details
    if hosts is None:
        hosts = [_host(farm, host) for host in details.get("hosts", ())]
    return {
        "name": status.name,
        "driver": status.driver,
        "phase": status.phase.value,
        "owner": status.owner,
        "maintenance": maintenance_of_provider(farm, status.name),
        "nodes": farm.tally.nodes_of(status.name),
        "pools": _pools(farm, service),
        "tasks": _tasks(farm, status),
        "waiting": list(status.waiting),
        "troubles": list(status.troubles),
        "hosts": hosts,
        "quota": _quota(details),
        "launching": details.get("launching", 0),
        "deleting": details.get("deleting", 0),
    }


def _empty(farm: Farm, name: str, driver: str, phase: str, trouble: str) -> dict[str, Any]:
    return {
        "name": name,
        "driver": driver,
        "phase": phase,
        "owner": False,
        "maintenance": maintenance_of_provider(farm, name),
        "nodes": farm.tally.nodes_of(name),
        "pools": [],
        "tasks": [],
        "waiting": [],
        "troubles": [trouble] if trouble else [],
        "hosts": [],
        "quota": [],
        "launching": 0,
        "deleting": 0,
    }


def _tasks(farm: Farm, status: ProviderStatus) -> list[dict[str, Any]]:
    now = farm.now
    return [
        {"what": what, "seconds": round(max(0.0, now - since), 1)} for what, since in status.tasks
    ]


def _pools(farm: Farm, service: ProviderService) -> list[dict[str, Any]]:
    waiting = service.measures().waiting if isinstance(service, Measured) else {}
    registered = {
        pool.name: pool
        for pool in farm.store.components.pools()
        if pool.provider_name == service.config.name and pool.hostname == farm.hostname
    }
    shown = []
    for pool in sorted(service.config.pools, key=lambda pool: pool.name):
        component = registered.get(pool.name)
        shown.append(
            {
                "name": pool.name,
                "labels": sorted(pool.labels),
                "priority": pool.effective_priority,
                "max_servers": None if math.isinf(pool.max_servers) else int(pool.max_servers),
                "waiting": waiting.get(pool.name, 0),
                "paused": component.paused if component is not None else False,
            }
        )
    return shown


def _host(farm: Farm, host: Mapping[str, Any]) -> dict[str, Any]:
    """A static host, as its provider tells of it."""
    return {
        "hostname": host["hostname"],
        "port": host["port"],
        "username": host["username"],
        "pool": host["pool"],
        "labels": list(host["labels"]),
        "state": host["state"],
        "reason": host["reason"],
        "since": host["since"],
        "next_look": host["next_look"],
        "slots": host["slots"],
        "free": host["free"],
        "used": host["used"],
        "waits": list(host["waits"]),
        "maintenance": maintenance_of_host(farm, host["hostname"]),
    }


def _quota(details: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What is used of what a cloud allows, by us and by others together."""
    quota = details.get("quota")
    if quota is None or not quota.quota:
        return []
    used = details.get("used", {})
    return [
        {
            "resource": resource,
            "used": _number(used.get(resource, 0) + quota.others.get(resource, 0)),
            "limit": _number(limit),
            "unit": UNITS.get(resource, ""),
        }
        for resource, limit in sorted(quota.quota.items())
        if not math.isinf(limit)
    ]


def _number(value: float) -> float:
    """Without a fraction that is none."""
    return int(value) if value == int(value) else round(value, 3)
