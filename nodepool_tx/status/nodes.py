"""What people are shown of nodes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import attrs

from nodepool_tx.model import Node
from nodepool_tx.status.farm import Farm
from nodepool_tx.store.nodes import NodeTable

__all__ = ["NodeFilter", "matching_nodes", "node_status", "shown_node"]


@attrs.frozen(kw_only=True)
class NodeFilter:
    """Which nodes to show; what is None matches all."""

    provider: str | None = None
    pool: str | None = None
    label: str | None = None
    state: str | None = None

    def matches(self, node: Node) -> bool:
        return (
            (self.provider is None or node.provider == self.provider)
            and (self.pool is None or node.pool == self.pool)
            and (self.label is None or self.label in node.type)
            and (self.state is None or node.state.value == self.state)
        )


def matching_nodes(table: NodeTable, wanted: NodeFilter, after: str) -> Iterator[Node]:
    """Those that match and whose id comes after ``after``, by id."""
    if wanted.provider is not None:
        candidates = table.of_provider(wanted.provider)
    else:
        candidates = list(table)
    found = [node for node in candidates if node.id > after and wanted.matches(node)]
    found.sort(key=lambda node: node.id)
    return iter(found)


def shown_node(farm: Farm, node_id: str) -> dict[str, Any] | None:
    """One node; None if there is none."""
    node = farm.store.nodes.get(node_id)
    return None if node is None else node_status(node, farm.store.nodes.is_locked(node_id))


def node_status(node: Node, locked: bool) -> dict[str, Any]:
    """A node as plain data."""
    return {
        "id": node.id,
        "provider": node.provider,
        "pool": node.pool,
        "labels": list(node.type),
        "state": node.state.value,
        "since": node.state_time,
        "created": node.created_time,
        "locked": locked,
        "hostname": node.hostname,
        "public_ipv4": node.public_ipv4,
        "private_ipv4": node.private_ipv4,
        "ipv6": node.public_ipv6,
        "az": node.az,
        "launcher": node.launcher,
        "allocated_to": node.allocated_to,
        "requestor": node.requestor,
        "tenant": node.tenant_name,
        "hold_job": node.hold_job,
        "comment": node.comment,
        "external_id": node.external_id,
        "username": node.username,
        "port": _port(node.connection_port),
        "slot": node.slot,
    }


def _port(port: Any) -> int | None:
    """The port; some drivers keep connection data there, credentials included."""
    try:
        return int(port)
    except (TypeError, ValueError):
        return None
