"""What the lists show: Nodepool 11's columns, in its order, from the store's tables.

A report is a value: keys, headers and rows.  As a table it shows ages as
``days:hours:minutes:seconds``; as JSON it has all keys, and ages in seconds.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

import attrs

from nodepool_tx.model import Node, NodeRequest, PoolComponent
from nodepool_tx.reports.table import render_table

__all__ = [
    "Report",
    "image_report",
    "label_report",
    "node_report",
    "provider_node_report",
    "request_report",
]


@attrs.frozen
class Column:
    """A key in JSON and its header in a table.

    :ivar shows: how a value looks in a table, where that differs from JSON.
    """

    key: str
    header: str
    shows: Callable[[Any], Any] = lambda value: value


@attrs.frozen
class Report:
    """Rows of a list.

    :ivar shown: the keys that a table has; JSON has all.
    """

    columns: tuple[Column, ...]
    rows: tuple[Mapping[str, Any], ...]
    shown: Collection[str]

    def as_table(self) -> str:
        columns = [column for column in self.columns if column.key in self.shown]
        return render_table(
            [column.header for column in columns],
            [[column.shows(row[column.key]) for column in columns] for row in self.rows],
        )

    def as_json(self) -> str:
        return json.dumps(self.rows, indent=2)


def show_age(seconds: float) -> str:
    """Such as ``00:01:23:45``: a day count that grows as needed, then a time."""
    minutes, second = divmod(max(0, int(seconds)), 60)
    hours, minute = divmod(minutes, 60)
    day, hour = divmod(hours, 24)
    return f"{day:02d}:{hour:02d}:{minute:02d}:{second:02d}"


_NODE_COLUMNS = (
    Column("id", "ID"),
    Column("provider", "Provider"),
    Column("label", "Label"),
    Column("server_id", "Server ID"),
    Column("public_ipv4", "Public IPv4"),
    Column("ipv6", "IPv6"),
    Column("state", "State"),
    Column("age", "Age", show_age),
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
    Column("state", "State"),
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
