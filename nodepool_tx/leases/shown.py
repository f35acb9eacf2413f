"""A lease as its user sees it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from nodepool_tx.model import Node
from nodepool_tx.store.leases import Lease

__all__ = ["shown_lease", "shown_node"]


def shown_lease(
    lease: Lease, nodes: Sequence[Node], request_id: str | None, reason: str
) -> dict[str, Any]:
    """A lease as plain data.

    :param nodes: those that are held for it.
    :param request_id: of its request, if that is known.
    :param reason: why it waits, or why it is over.
    """
    by_id = {node.id: node for node in nodes}
    places = zip(lease.labels, lease.nodes, strict=False)
    return {
        "id": lease.id,
        "user": lease.user,
        "state": lease.state.value,
        "since": lease.since,
        "labels": list(lease.labels),
        "priority": lease.priority,
        "comment": lease.comment,
        "created": lease.created,
        "expires": lease.expires,
        "ttl": lease.ttl,
        "request": lease.request or request_id,
        "reason": reason,
        "nodes": [shown_node(by_id[each], label) for label, each in places if each in by_id],
    }


def shown_node(node: Node, label: str) -> dict[str, Any]:
    """How to reach a node."""
    return {
        "id": node.id,
        "label": label,
        "hostname": node.hostname,
        "address": node.interface_ip or node.public_ipv4 or node.public_ipv6 or node.private_ipv4,
        "public_ipv4": node.public_ipv4,
        "private_ipv4": node.private_ipv4,
        "public_ipv6": node.public_ipv6,
        "port": node.connection_port,
        "username": node.username,
        "connection_type": node.connection_type,
        "host_keys": list(node.host_keys),
        "python_path": node.python_path,
        "shell_type": node.shell_type,
        "attributes": dict(node.attributes or {}),
        "provider": node.provider,
        "az": node.az,
    }
