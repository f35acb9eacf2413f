"""The limits of a project."""

from __future__ import annotations

from collections.abc import Mapping

from nodepool_tx.providers.cloud.errors import Gone
from nodepool_tx.providers.openstack.calls import Calls, part

__all__ = ["compute_limits", "volume_limits"]

#: Nova's name of a limit, and ours.
_COMPUTE = {
    "maxTotalInstances": "instances",
    "maxTotalCores": "cores",
    "maxTotalRAMSize": "ram",
}

#: Cinder's name of a limit, and ours.
_VOLUME = {"maxTotalVolumes": "volumes", "maxTotalVolumeGigabytes": "volume-gb"}


async def compute_limits(calls: Calls) -> dict[str, float]:
    """Servers, cores and memory; what is not limited is left out."""
    return await _limits(calls, "compute", _COMPUTE)


async def volume_limits(calls: Calls) -> dict[str, float]:
    """Volumes and their size; nothing where the cloud has no volumes."""
    try:
        return await _limits(calls, "block-storage", _VOLUME)
    except Gone:
        return {}


async def _limits(calls: Calls, service: str, names: Mapping[str, str]) -> dict[str, float]:
    doing = f"read the limits of {service}"
    limits = await calls.get(doing, service, "/limits", "limits")
    absolute = part(doing, limits, "absolute")
    return {
        ours: float(absolute[theirs])
        for theirs, ours in names.items()
        # A negative limit is none.
        if absolute.get(theirs) is not None and absolute[theirs] >= 0
    }
