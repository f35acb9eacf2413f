"""What is known of a cloud beside its servers, looked up once for everybody."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from typing import Any

from twisted.internet.interfaces import IReactorTime

from nodepool_tx.config.openstack import OpenStackImage, OpenStackLabel
from nodepool_tx.providers.cloud.errors import Gone, InvalidConfiguration
from nodepool_tx.providers.openstack.calls import Calls
from nodepool_tx.providers.openstack.flavors import Flavor, choose, list_flavors
from nodepool_tx.providers.openstack.hints import NetworkHints
from nodepool_tx.providers.openstack.images import find_image
from nodepool_tx.providers.openstack.lookups import Lookup
from nodepool_tx.providers.openstack.networks import Network, find, list_networks, list_routes
from nodepool_tx.providers.openstack.volumes import list_volume_sizes

__all__ = ["Hints", "Known"]

#: Reads what the client configuration says of the cloud's networks.
Hints = Callable[[], Coroutine[Any, Any, NetworkHints]]

#: Seconds for which an answer is good.
_FLAVORS = 3600.0
_NETWORKS = 3600.0
_ZONES = 3600.0
_IMAGES = 600.0
_VOLUMES = 300.0


class Known:
    """Flavors, images, networks, zones and volumes of a cloud."""

    def __init__(self, calls: Calls, clock: IReactorTime, hints: Hints) -> None:
        self._calls = calls
        self._clock = clock
        self.flavors: Lookup[tuple[Flavor, ...]] = Lookup(
            clock, "flavors", _FLAVORS, lambda: list_flavors(calls)
        )
        self.networks: Lookup[tuple[Network, ...]] = Lookup(
            clock, "networks", _NETWORKS, lambda: list_networks(calls)
        )
        self.routes: Lookup[Mapping[str, tuple[str, ...]]] = Lookup(
            clock, "routers", _NETWORKS, lambda: list_routes(calls)
        )
        self.hints: Lookup[NetworkHints] = Lookup(clock, "clouds.yaml", _NETWORKS, hints)
        self.zones: Lookup[tuple[str, ...]] = Lookup(
            clock, "availability zones", _ZONES, lambda: _list_zones(calls)
        )
        self.volumes: Lookup[Mapping[str, int]] = Lookup(
            clock, "volumes", _VOLUMES, lambda: list_volume_sizes(calls)
        )
        self.project: Lookup[str | None] = Lookup(
            clock, "the project", float("inf"), lambda: _find_project(calls)
        )
        self._images: dict[str, Lookup[str | None]] = {}

    async def flavor(self, label: OpenStackLabel) -> Flavor:
        """What size the servers of a label have.

        :raises InvalidConfiguration: there is no such flavor.
        """
        name, ram = label.flavor_name, label.min_ram
        flavor = await self.flavors.find(lambda flavors: choose(flavors, name, ram))
        if flavor is None:
            wanted = f"with {ram} MiB or more" if ram else f"called {name}"
            among = f" and {name} in its name" if ram and name else ""
            raise InvalidConfiguration(f"there is no flavor {wanted}{among}")
        return flavor

    async def image(self, image: OpenStackImage) -> str | None:
        """The id of an image that is in the cloud already, if it can be used."""
        name = image.external_name
        if name not in self._images:
            self._images[name] = Lookup(
                self._clock, f"image {name}", _IMAGES, lambda: find_image(self._calls, name)
            )
        return await self._images[name].find(lambda image_id: image_id)

    async def network(self, name: str) -> Network:
        """The network of that name or id.

        :raises InvalidConfiguration: there is none, or there are several.
        """
        network = await self.networks.find(lambda networks: find(networks, name))
        if network is None:
            raise InvalidConfiguration(f"there is no network {name}")
        return network

    def forget(self, before: float) -> None:
        """What was asked for by then no longer holds: the cloud did not know of it."""
        for lookup in (self.flavors, self.networks, self.routes, self.zones):
            lookup.forget(before)
        for image in self._images.values():
            image.forget(before)


async def _list_zones(calls: Calls) -> tuple[str, ...]:
    """The zones that servers can be asked for in; none where we may not know."""
    try:
        listed = await calls.get(
            "list the availability zones",
            "compute",
            "/os-availability-zone",
            "availabilityZoneInfo",
        )
    except (Gone, InvalidConfiguration):
        return ()
    return tuple(
        sorted(zone["zoneName"] for zone in listed if zone.get("zoneState", {}).get("available"))
    )


async def _find_project(calls: Calls) -> str | None:
    """Whose resources are ours; None where the cloud does not say.

    An administrator is shown those of everybody.
    """
    try:
        tenant = await calls.get("find the project", "network", "/quotas/tenant", "tenant")
    except (Gone, InvalidConfiguration):
        return None
    project = tenant.get("tenant_id")
    return str(project) if project else None
