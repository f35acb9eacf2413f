"""The list of all servers, as the engine wants it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger

from nodepool_tx.providers.openstack.calls import Calls
from nodepool_tx.providers.openstack.faults import VersionRefused
from nodepool_tx.providers.openstack.flavors import Flavor, read_flavor
from nodepool_tx.providers.openstack.hints import NetworkHints
from nodepool_tx.providers.openstack.known import Known
from nodepool_tx.providers.openstack.networks import outlook_of
from nodepool_tx.providers.openstack.servers import (
    FLAVOR_EMBEDDED,
    Surroundings,
    VisibleServer,
    list_servers,
    read_server,
)
from nodepool_tx.providers.openstack.volumes import attached
from nodepool_tx.resources import Amounts

__all__ = ["ServerList"]

#: Work in one turn of the reactor: a server that has not changed counts 1 (about
#: five microseconds), one that is read counts :data:`_READING`.
_SLICE = 500
_READING = 10


@attrs.frozen(eq=False)
class _Reading:
    """What a server was read from, and what came of it."""

    raw: Mapping[str, Any]
    resources: Amounts | None
    around: Surroundings
    server: VisibleServer


class ServerList:
    """Lists servers; what has not changed since the last time is not read again."""

    _log = Logger()

    def __init__(self, calls: Calls, clock: IReactorTime, known: Known) -> None:
        self._calls = calls
        self._clock = clock
        self._known = known
        self._version: str | None = FLAVOR_EMBEDDED
        self._readings: dict[str, _Reading] = {}

    def last(self, server_id: str) -> VisibleServer | None:
        """A server as the last listing showed it."""
        reading = self._readings.get(server_id)
        return None if reading is None else reading.server

    async def ask(self) -> list[VisibleServer]:
        """Every server that there is now."""
        listed = await self._list()
        networks = await self._known.networks.get_if_possible(lambda _: True, ())
        transport = self._calls.transport
        hints = await self._known.hints.get_if_possible(lambda _: True, NetworkHints())
        outlook = outlook_of(networks, hints)
        around = Surroundings(transport.cloud, transport.region, outlook)
        flavors = await self._flavors(listed)
        volumes = await self._volumes(listed)
        readings: dict[str, _Reading] = {}
        # The listing itself was work, too.
        work = len(listed)
        for raw in listed:
            resources = _resources(raw, flavors, volumes)
            reading = self._readings.get(raw["id"])
            work += 1
            if (
                reading is None
                or reading.raw != raw
                or reading.resources != resources
                or reading.around != around
            ):
                reading = _Reading(raw, resources, around, read_server(raw, resources, around))
                work += _READING
            readings[raw["id"]] = reading
            if work >= _SLICE:
                work = 0
                await deferLater(self._clock, 0)
        self._readings = readings
        return [reading.server for reading in readings.values()]

    async def _list(self) -> list[dict[str, Any]]:
        try:
            return await list_servers(self._calls, self._version)
        except VersionRefused as e:
            if self._version is None:
                raise
            self._log.info(
                "This cloud does not show the size of its servers: {error}", error=str(e)
            )
            self._version = None
            return await list_servers(self._calls, None)

    async def _flavors(self, listed: list[dict[str, Any]]) -> Mapping[str, Flavor]:
        """The flavors of servers that show only the id of theirs."""
        ids = {flavor["id"] for raw in listed if "id" in (flavor := raw.get("flavor") or {})}
        if not ids:
            return {}
        flavors = await self._known.flavors.get_if_possible(
            lambda flavors: ids <= {flavor.id for flavor in flavors}, ()
        )
        return {flavor.id: flavor for flavor in flavors}

    async def _volumes(self, listed: list[dict[str, Any]]) -> Mapping[str, int]:
        """The sizes of the servers' volumes; they are asked for only if there are any."""
        ids = {volume for raw in listed for volume in attached(raw)}
        if not ids:
            return {}
        return await self._known.volumes.get_if_possible(lambda sizes: ids <= sizes.keys(), {})


def _resources(
    raw: Mapping[str, Any], flavors: Mapping[str, Flavor], volumes: Mapping[str, int]
) -> Amounts | None:
    """What a server counts for in the quota; None if its size is not known."""
    embedded = raw.get("flavor") or {}
    flavor = read_flavor(embedded) if "vcpus" in embedded else flavors.get(embedded.get("id", ""))
    if flavor is None:
        return None
    resources: dict[str, float] = {"instances": 1, "cores": flavor.vcpus, "ram": flavor.ram}
    sizes = [volumes[volume] for volume in attached(raw) if volume in volumes]
    if sizes:
        resources["volumes"] = len(sizes)
        resources["volume-gb"] = sum(sizes)
    return resources
