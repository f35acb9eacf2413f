"""What a server has written to its console."""

from __future__ import annotations

from nodepool_tx.providers.cloud.errors import CloudError
from nodepool_tx.providers.openstack.calls import Calls, part
from nodepool_tx.providers.openstack.faults import error_for

__all__ = ["read_console"]

_DOING = "read the console of a server"


async def read_console(calls: Calls, server_id: str) -> str | None:
    """Its text; None where the cloud keeps none, or none of this server.

    :raises CloudError: the cloud did not answer in a way that says so.
    """
    answer = await calls.transport.request(
        "compute",
        "POST",
        f"/servers/{server_id}/action",
        json={"os-getConsoleOutput": {}},
    )
    if answer.status == 200:
        text = part(_DOING, answer.body, "output")
        return text if isinstance(text, str) else None
    if answer.status in (404, 409, 501):
        return None
    error: CloudError = error_for(_DOING, answer)
    raise error
