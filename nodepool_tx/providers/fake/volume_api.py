"""The simulated cloud's block storage service, version 3."""

from __future__ import annotations

from typing import Any

from nodepool_tx.providers.fake.api import ENDPOINTS, Call, members, page
from nodepool_tx.providers.fake.cloud import SimulatedOpenStack
from nodepool_tx.providers.fake.rules import PROJECT, USER, Refused, date, text
from nodepool_tx.providers.fake.volumes import Volume
from nodepool_tx.providers.openstack.transport import Answer

__all__ = ["VolumeService"]

PAGE = 1000

_ERRORS = {400: "badRequest", 403: "forbidden", 404: "itemNotFound", 413: "overLimit"}


class VolumeService:
    """Answers calls about volumes and their limits."""

    def __init__(self, cloud: SimulatedOpenStack) -> None:
        self._cloud = cloud
        self._volumes = cloud.volumes

    def __call__(self, call: Call) -> Answer:
        try:
            return self._answer(call)
        except Refused as e:
            return self.refuse(e)

    @staticmethod
    def refuse(error: Refused) -> Answer:
        """How this service says no."""
        kind = _ERRORS.get(error.status, "volumeFault")
        inner: dict[str, Any] = {"code": error.status, "message": error.message}
        if error.status == 413:
            inner["retryAfter"] = "0"
        headers = {"retry-after": "0"} if error.status == 413 else {}
        return Answer(error.status, headers, {kind: inner})

    def _answer(self, call: Call) -> Answer:
        match (call.method, *call.path):
            case ("GET", "limits"):
                return self._limits()
            case ("GET", "volumes", "detail") | ("GET", "volumes"):
                return self._list(call)
            case ("POST", "volumes"):
                body = call.content("volume")
                size = body.get("size")
                if not isinstance(size, int) or size < 1:
                    raise Refused(400, f"the size is {size!r}, which is no number of GiB")
                volume = self._volumes.add(
                    size,
                    name=text(body, "name"),
                    metadata=body.get("metadata"),
                    image_id=body.get("imageRef"),
                )
                return Answer(202, body={"volume": _view(volume)})
            case ("GET", "volumes", volume_id):
                return Answer(200, body={"volume": _view(self._find(volume_id))})
            case ("DELETE", "volumes", volume_id):
                self._volumes.delete(self._find(volume_id))
                return Answer(202)
        raise Refused(404, "the resource could not be found")

    def _find(self, volume_id: str) -> Volume:
        volume = self._volumes.volumes.get(volume_id)
        if volume is None:
            raise Refused(404, f"there is no volume {volume_id}")
        return volume

    def _list(self, call: Call) -> Answer:
        every = [_view(volume) for volume in reversed(self._volumes.volumes.values())]
        part, more = page(call, members(call, every), PAGE, lambda volume: str(volume["id"]))
        body: dict[str, Any] = {"volumes": list(part)}
        if more is not None:
            href = f"{ENDPOINTS['block-storage']}/{'/'.join(call.path)}?{more}"
            body["volumes_links"] = [{"rel": "next", "href": href}]
        return Answer(200, body=body)

    def _limits(self) -> Answer:
        simulation = self._cloud.simulation
        absolute = {
            "maxTotalVolumes": simulation.max_volumes,
            "maxTotalVolumeGigabytes": simulation.max_volume_gb,
            "maxTotalSnapshots": 10,
            "maxTotalBackups": 10,
            "maxTotalBackupGigabytes": 1000,
            "totalVolumesUsed": len(self._volumes.volumes),
            "totalGigabytesUsed": self._volumes.gigabytes,
            "totalSnapshotsUsed": 0,
            "totalBackupsUsed": 0,
            "totalBackupGigabytesUsed": 0,
        }
        return Answer(200, body={"limits": {"rate": [], "absolute": absolute}})


def _view(volume: Volume) -> dict[str, Any]:
    attachments = []
    if volume.server_id is not None:
        attachments.append(
            {
                "id": volume.id,
                "volume_id": volume.id,
                "attachment_id": volume.attachment_id,
                "server_id": volume.server_id,
                "host_name": None,
                "device": "/dev/vda",
                "attached_at": date(volume.created)[:-1] + ".000000",
            }
        )
    moment = date(volume.created)[:-1] + ".000000"
    return {
        "id": volume.id,
        "name": volume.name,
        "status": volume.status,
        "size": volume.size,
        "metadata": dict(volume.metadata),
        "attachments": attachments,
        "availability_zone": volume.zone or "nova",
        "bootable": "true" if volume.image_id else "false",
        "encrypted": False,
        "multiattach": False,
        "description": None,
        "snapshot_id": None,
        "source_volid": None,
        "consistencygroup_id": None,
        "replication_status": None,
        "migration_status": None,
        "volume_type": "simulated",
        "user_id": USER,
        "os-vol-tenant-attr:tenant_id": PROJECT,
        "created_at": moment,
        "updated_at": moment,
        "links": [],
    }
