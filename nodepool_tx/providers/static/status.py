"""What people are shown of the machines of a static provider."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from nodepool_tx.model import Maintenance, NodeState
from nodepool_tx.providers.static.desired import Desired, DesiredNode, Identity
from nodepool_tx.providers.static.hosts import Hosts
from nodepool_tx.providers.static.observed import HostState
from nodepool_tx.providers.static.plan import Wait
from nodepool_tx.providers.static.reconciler import Reconciler
from nodepool_tx.store.maintenance import shown
from nodepool_tx.store.nodes import NodeTable

__all__ = ["health", "host_statuses", "troubles"]


def health(
    desired: Desired, hosts: Hosts, withdrawn: Callable[[Identity], Maintenance | None]
) -> dict[str, int]:
    """How many machines there are by health; those out of service are ``maintenance``."""
    found = {state.value: 0 for state in HostState} | {"maintenance": 0}
    for identity in desired.hosts:
        out_of_service = withdrawn(identity) is not None
        found["maintenance" if out_of_service else hosts.facts(identity).state.value] += 1
    return found


def host_statuses(
    desired: Desired,
    reconciler: Reconciler,
    table: NodeTable,
    withdrawn: Callable[[Identity], Maintenance | None],
) -> Iterator[dict[str, Any]]:
    """One entry per machine, in the order of the configuration, made as it is asked for.

    :param withdrawn: by which record a machine is out of service.
    """
    for host in desired.hosts.values():
        yield {**_host(host, reconciler, table), "maintenance": shown(withdrawn(host.identity))}


def troubles(hosts: Iterable[Mapping[str, Any]]) -> tuple[str, ...]:
    """The machines that are down, in words; what is out of service may well be."""
    return tuple(
        f"{host['pool']}: {host['hostname']} is down: {host['reason']}"
        for host in hosts
        if host["state"] == HostState.DOWN.value and host["maintenance"] is None
    )


def _host(host: DesiredNode, reconciler: Reconciler, table: NodeTable) -> dict[str, Any]:
    facts = reconciler.hosts.facts(host.identity)
    free = used = 0
    waits: list[str] = []
    for key in host.slot_keys():
        nodes = [node for i in reconciler.slots.ids_at(key) if (node := table.get(i))]
        if any(table.is_free(node.id) for node in nodes):
            free += 1
        elif any(node.state is not NodeState.READY or node.allocated_to for node in nodes):
            used += 1
        waits += [step.reason for step in reconciler.explain(key) if isinstance(step, Wait)]
    down = facts.state is HostState.DOWN
    return {
        "hostname": host.hostname,
        "port": host.port,
        "username": host.username,
        "pool": host.pool,
        "labels": list(host.labels),
        "state": facts.state.value,
        "reason": facts.reason if down else "",
        "since": facts.since or None,
        "next_look": facts.retry_at if down else None,
        "looking": reconciler.hosts.is_looking(host.identity),
        "slots": host.slots,
        "free": free,
        "used": used,
        "waits": list(dict.fromkeys(waits)),
    }
