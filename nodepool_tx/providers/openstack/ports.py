"""Ports that servers have left behind.

Nova now and then forgets to delete the port of a server that failed.  Such a
port is down, belongs to no server that there is, and stays so.  Nothing about
it says who made it, so the project is taken to be ours, as the option
``port-cleanup-interval`` says.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from nodepool_tx.providers.cloud.errors import Gone
from nodepool_tx.providers.cloud.interface import Resource
from nodepool_tx.providers.openstack.calls import Calls
from nodepool_tx.providers.openstack.paging import everything

__all__ = ["DownPorts", "delete_port"]


class DownPorts:
    """The ports that are down, and since when.

    :param interval: seconds for which a port must have been seen down.
    """

    def __init__(self, calls: Calls, interval: float) -> None:
        self._calls = calls
        self._interval = interval
        self._since: dict[str, float] = {}

    async def left_over(
        self, now: float, servers: Collection[str], project: str | None
    ) -> list[Resource]:
        """Those that have been down for long enough.

        :param servers: ids of the servers that there are.
        :param project: whose ports to look at; None for all that are shown.
        """
        try:
            listed = await everything(
                self._calls,
                "list the ports",
                "network",
                "/ports",
                "ports",
                query={"status": "DOWN"},
            )
        except Gone:
            return []
        down = {str(port["id"]) for port in listed if _is_left(port, servers, project)}
        self._since = {port: self._since.get(port, now) for port in down}
        return [
            Resource(kind="port", external_id=port, orphan=True)
            for port, since in sorted(self._since.items())
            if now - since >= self._interval
        ]


def _is_left(port: Mapping[str, Any], servers: Collection[str], project: str | None) -> bool:
    """Whether a port was a server's; routers and DHCP have ports, too."""
    owner = port.get("device_owner") or ""
    return (
        port.get("status") == "DOWN"
        and (not owner or owner.startswith("compute:"))
        and port.get("device_id") not in servers
        and (project is None or (port.get("project_id") or port.get("tenant_id")) == project)
    )


async def delete_port(calls: Calls, port_id: str) -> None:
    """:raises Gone: there is no such port."""
    await calls.ask("delete a port", "network", "DELETE", f"/ports/{port_id}")
