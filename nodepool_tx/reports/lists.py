"""Lists of nodes, requests and labels: Nodepool 11's columns, in its order."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from nodepool_tx.model import Node, NodeRequest, PoolComponent
from nodepool_tx.reports.report import Column, Report, show_age, tone_of

__all__ = [
    "image_report",
    "label_report",
    "node_report",
    "provider_node_report",
    "request_report",
]


_NODE_COLUMNS = (
    Column("id", "ID"),
    Column("provider", "Provider"),
    Column("label", "Label"),
    Column("server_id", "Server ID"),
    Column("public_ipv4", "Public IPv4"),
    Column("ipv6", "IPv6"),
    Column("state", "State", tone=tone_of),
    Column("age", "Age", show_age, reference=lambda row: show_age(row["age"]), passing=True),
    Column("locked", "Locked"),
)
_DETAIL_COLUMNS = (
    Column("pool", "Pool"),
    Column("hostname", "Hostname"),
    Column("private_ipv4", "Private IPv4"),
    Column("AZ", "AZ"),
    Column("username", "Username"),
    Column("connection_port", "Port"),
    Column("launcher", "Launcher"),
    Column("allocated_to", "Allocated To"),
    Column("hold_job", "Hold Job"),
    Column("comment", "Comment"),
    Column("user_data", "User Data"),
    Column("driver_data", "Driver Data"),
)
_REQUEST_COLUMNS = (
    Column("id", "Request ID"),
    Column("relative_priority", "Priority"),
    Column("state", "State", tone=tone_of),
    Column("requestor", "Requestor"),
    Column("node_types", "Node Types"),
    Column("nodes", "Nodes"),
    Column("declined_by", "Declined By"),
    Column("event_id", "Event ID"),
)


def _report(columns: tuple[Column, ...], rows: Iterable[Mapping[str, Any]]) -> Report:
    return Report(columns, tuple(rows), [column.key for column in columns])


def _port(port: Any) -> Any:
    """The port, unless connection data with credentials is kept in its place."""
    try:
        int(port)
    except (TypeError, ValueError):
        return "redacted"
    return port


def node_report(
    nodes: Iterable[Node], is_locked: Callable[[str], bool], now: float, *, detail: bool = False
) -> Report:
    """Nodes by id; ``detail`` adds the columns that make a table wide."""
    rows = tuple(
        {
            "id": node.id,
            "provider": node.provider,
            "label": list(node.type),
            "server_id": node.external_id,
            "public_ipv4": node.public_ipv4,
            "ipv6": node.public_ipv6,
            "state": node.state.value,
            "age": round(now - node.state_time, 3),
            "locked": "locked" if is_locked(node.id) else "unlocked",
            "pool": node.pool,
            "hostname": node.hostname,
            "private_ipv4": node.private_ipv4,
            "AZ": node.az,
            "username": node.username,
            "connection_port": _port(node.connection_port),
            "launcher": node.launcher,
            "allocated_to": node.allocated_to,
            "hold_job": node.hold_job,
            "comment": node.comment,
            "user_data": node.user_data,
            "driver_data": node.driver_data,
        }
        for node in sorted(nodes, key=lambda node: node.id)
    )
    columns = _NODE_COLUMNS + _DETAIL_COLUMNS
    shown = columns if detail else _NODE_COLUMNS
    return Report(columns, rows, [column.key for column in shown])


def request_report(requests: Iterable[NodeRequest]) -> Report:
    """Requests in the order of the queue."""
    return _report(
        _REQUEST_COLUMNS,
        (
            {
                "id": request.id,
                "relative_priority": request.relative_priority,
                "state": request.state.value,
                "requestor": request.requestor,
                "node_types": list(request.node_types),
                "nodes": list(request.nodes),
                "declined_by": list(request.declined_by),
                "event_id": request.event_id,
            }
            for request in sorted(requests, key=lambda request: request.sort_key)
        ),
    )


def label_report(pools: Iterable[PoolComponent]) -> Report:
    """Every label that a pool online offers."""
    labels = {label for pool in pools for label in pool.supported_labels}
    return _report((Column("label", "Label"),), ({"label": label} for label in sorted(labels)))


def image_report(uploads: Mapping[tuple[str, str], Iterable[str]]) -> Report:
    """Uploads of one provider, by image and build."""
    columns = (
        Column("image_name", "Image Name"),
        Column("build_id", "Build ID"),
        Column("upload_ids", "Upload IDs"),
    )
    return _report(
        columns,
        (
            {"image_name": image, "build_id": build, "upload_ids": sorted(ids)}
            for (image, build), ids in sorted(uploads.items())
        ),
    )


def provider_node_report(nodes: Iterable[Node]) -> Report:
    """The nodes of one provider, as ``info`` lists them."""
    return _report(
        (Column("id", "ID"), Column("server_id", "Server ID")),
        (
            {"id": node.id, "server_id": node.external_id}
            for node in sorted(nodes, key=lambda node: node.id)
        ),
    )
