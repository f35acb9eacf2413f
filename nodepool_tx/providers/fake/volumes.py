"""Volumes of the simulated cloud."""

from __future__ import annotations

from collections.abc import Mapping

import attrs
from twisted.internet.interfaces import IReactorTime

from nodepool_tx.config.fake import FakeSimulation
from nodepool_tx.providers.fake.rules import Identities, Refused

__all__ = ["Volume", "Volumes"]


@attrs.define(eq=False)
class Volume:
    """A disk that is kept apart from servers.

    :ivar size: GiB.
    :ivar goes: it is deleted together with its server.
    """

    id: str
    size: int
    created: float
    name: str = ""
    status: str = "creating"
    metadata: Mapping[str, str] = attrs.field(factory=dict)
    zone: str = ""
    image_id: str | None = None
    server_id: str | None = None
    attachment_id: str = ""
    goes: bool = False


class Volumes:
    """The volumes there are."""

    def __init__(
        self, clock: IReactorTime, identities: Identities, simulation: FakeSimulation
    ) -> None:
        self._clock = clock
        self._identities = identities
        self.simulation = simulation
        self.volumes: dict[str, Volume] = {}

    @property
    def gigabytes(self) -> int:
        """What all of them have together, in GiB."""
        return sum(volume.size for volume in self.volumes.values())

    def add(
        self,
        size: int,
        *,
        name: str = "",
        metadata: Mapping[str, str] | None = None,
        image_id: str | None = None,
        goes: bool = False,
    ) -> Volume:
        """Make a volume.

        :raises Refused: the quota does not allow it.
        """
        allowed, most = self.simulation.max_volumes, self.simulation.max_volume_gb
        if 0 <= allowed < len(self.volumes) + 1:
            raise Refused(
                413,
                f"VolumeLimitExceeded: quota exceeded for volumes, {allowed} are allowed",
                "overLimit",
            )
        if 0 <= most < self.gigabytes + size:
            raise Refused(
                413,
                f"VolumeSizeExceedsAvailableQuota: quota exceeded for gigabytes, {size} requested, "
                f"{self.gigabytes} of {most} in use",
                "overLimit",
            )
        volume = Volume(
            id=self._identities.uuid(),
            size=size,
            created=self._clock.seconds(),
            name=name,
            metadata=dict(metadata or {}),
            image_id=image_id,
            goes=goes,
        )
        self.volumes[volume.id] = volume
        self._clock.callLater(0, self._created, volume)
        return volume

    def _created(self, volume: Volume) -> None:
        if volume.status == "creating":
            volume.status = "available"

    def attach(self, volume: Volume, server_id: str, zone: str) -> None:
        volume.server_id, volume.zone, volume.status = server_id, zone, "in-use"
        volume.attachment_id = self._identities.uuid()

    def release(self, volume_id: str) -> None:
        """Take a volume off its server, which is gone."""
        volume = self.volumes.get(volume_id)
        if volume is None:
            return
        volume.server_id, volume.status = None, "available"
        if volume.goes:
            del self.volumes[volume_id]

    def delete(self, volume: Volume) -> None:
        """:raises Refused: a server has it."""
        if volume.status == "in-use":
            raise Refused(400, f"the volume {volume.id} is in use")
        self.volumes.pop(volume.id, None)
