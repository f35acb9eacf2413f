"""Volumes: what servers have of them, and how to boot from one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from nodepool_tx.providers.cloud.errors import Gone
from nodepool_tx.providers.openstack.calls import Calls
from nodepool_tx.providers.openstack.paging import everything

__all__ = ["attached", "boot_volume", "list_volume_sizes"]


def boot_volume(image_id: str, gigabytes: int) -> dict[str, Any]:
    """The disk to boot from: a new volume with a copy of the image.

    It goes with its server.
    """
    return {
        "boot_index": 0,
        "uuid": image_id,
        "source_type": "image",
        "destination_type": "volume",
        "volume_size": gigabytes,
        "delete_on_termination": True,
    }


async def list_volume_sizes(calls: Calls) -> Mapping[str, int]:
    """GiB of each volume by its id; none where the cloud has no volumes."""
    try:
        listed = await everything(
            calls, "list the volumes", "block-storage", "/volumes/detail", "volumes"
        )
    except Gone:
        return {}
    return {volume["id"]: int(volume.get("size") or 0) for volume in listed}


def attached(server: Mapping[str, Any]) -> Sequence[str]:
    """The ids of a server's volumes."""
    return [
        entry["id"] for entry in server.get("os-extended-volumes:volumes_attached") or () if entry
    ]
