"""The adapter of OpenStack clouds: each question goes to the module that knows about it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from nodepool_tx.config.cloud import CloudLabel
from nodepool_tx.config.openstack import OpenStackImage, OpenStackLabel, OpenStackProvider
from nodepool_tx.providers.cloud.errors import CloudError
from nodepool_tx.providers.cloud.interface import (
    ImageInCloud,
    ImageUploadOrder,
    Instance,
    Order,
    Resource,
)
from nodepool_tx.providers.openstack.calls import Calls
from nodepool_tx.providers.openstack.console import read_console
from nodepool_tx.providers.openstack.floating import delete_floating, unattached
from nodepool_tx.providers.openstack.hints import NetworkHints
from nodepool_tx.providers.openstack.images import (
    built_images,
    delete_image,
    leftover_images,
    upload_image,
)
from nodepool_tx.providers.openstack.known import Hints, Known
from nodepool_tx.providers.openstack.launching import Launching
from nodepool_tx.providers.openstack.listing import ServerList
from nodepool_tx.providers.openstack.ports import DownPorts, delete_port
from nodepool_tx.providers.openstack.quota import compute_limits, volume_limits
from nodepool_tx.providers.openstack.reaching import Reaching
from nodepool_tx.providers.openstack.servers import VisibleServer
from nodepool_tx.providers.openstack.transport import Transport
from nodepool_tx.resources import Amounts

__all__ = ["OpenStackAdapter"]


async def _no_hints() -> NetworkHints:
    return NetworkHints()


class OpenStackAdapter:
    """One project in one region of an OpenStack cloud.

    :param transport: the session with it; started and stopped with the adapter.
    :param hints: reads what the client configuration says of its networks.
    """

    _log = Logger()

    poll_interval = 1.0

    def __init__(
        self,
        config: OpenStackProvider,
        transport: Transport,
        clock: IReactorTime,
        hints: Hints | None = None,
    ) -> None:
        self._config = config
        self._transport = transport
        self._clock = clock
        self._calls = Calls(transport)
        self._known = Known(self._calls, clock, hints or _no_hints)
        self._servers = ServerList(self._calls, clock, self._known)
        self._launching = Launching(self._calls, clock, self._known, config.name)
        self._reaching = Reaching(
            self._calls,
            clock,
            self._known,
            config.name,
            in_use=any(pool.auto_floating_ip for pool in config.pools),
        )
        self._down_ports = DownPorts(self._calls, config.port_cleanup_interval)
        self._boots_from_volume = any(
            label.boot_from_volume for pool in config.pools for label in pool.cloud_labels.values()
        )

    def start(self) -> None:
        self._transport.start()

    async def stop(self) -> None:
        await self._transport.stop()

    # -- servers ---------------------------------------------------------

    async def create(self, order: Order) -> str:
        return await self._launching.create(order)

    async def finish(self, order: Order, instance: Instance) -> Instance | None:
        assert isinstance(instance, VisibleServer), instance
        return await self._reaching.finish(order, instance)

    async def delete(self, external_id: str) -> None:
        # First what leads to it: nothing does once it is gone.
        await self._reaching.leave(external_id, self._servers.last(external_id))
        await self._calls.ask("delete a server", "compute", "DELETE", f"/servers/{external_id}")

    async def list_instances(self) -> Sequence[Instance]:
        return await self._servers.ask()

    async def console(self, external_id: str) -> str | None:
        return await read_console(self._calls, external_id)

    # -- what may be had -------------------------------------------------

    async def quota(self) -> Amounts:
        limits = await compute_limits(self._calls)
        try:
            limits.update(await volume_limits(self._calls))
        except CloudError as e:
            if self._boots_from_volume:
                raise
            self._log.warn(
                "The limits of volumes in {provider} are not known, and not needed: {error}",
                provider=self._config.name,
                error=str(e),
            )
        return limits

    async def needs(self, label: CloudLabel) -> Amounts:
        assert isinstance(label, OpenStackLabel), label
        flavor = await self._known.flavor(label)
        needs: dict[str, float] = {"instances": 1, "cores": flavor.vcpus, "ram": flavor.ram}
        if label.boot_from_volume:
            needs["volumes"] = 1
            needs["volume-gb"] = label.volume_size
        return needs

    async def zones(self) -> Sequence[str]:
        return await self._known.zones.get()

    async def image_ready(self, label: CloudLabel) -> bool:
        image = label.image
        if not isinstance(image, OpenStackImage) or image.diskimage:
            return False
        return await self._known.image(image) is not None

    # -- leftovers -------------------------------------------------------

    async def list_resources(self) -> Sequence[Resource]:
        servers = await self._servers.ask()
        found = [
            Resource(kind="instance", external_id=each.external_id, metadata=each.metadata)
            for each in servers
        ]
        ids = frozenset(each.external_id for each in servers)
        if self._config.port_cleanup_interval:
            found += await self._if_possible("ports", lambda: self._ports(ids))
        if self._config.clean_floating_ips:
            found += await self._if_possible("floating addresses", self._floating)
        found += await self._if_possible(
            "images", lambda: leftover_images(self._calls, self._config.name)
        )
        return found

    async def _ports(self, servers: frozenset[str]) -> list[Resource]:
        project = await self._known.project.get()
        return await self._down_ports.left_over(self._clock.seconds(), servers, project)

    async def _floating(self) -> list[Resource]:
        project = await self._known.project.get()
        return await unattached(self._calls, self._config.name, project)

    async def _if_possible(
        self, what: str, ask: Callable[[], Awaitable[list[Resource]]]
    ) -> list[Resource]:
        """Servers that are left over are found even when another service is down."""
        try:
            return await ask()
        except CloudError as e:
            self._log.warn(
                "Could not look for {what} that are left over in {provider}: {error}",
                what=what,
                provider=self._config.name,
                error=str(e),
            )
            return []

    async def delete_resource(self, resource: Resource) -> None:
        remove = {
            "instance": self.delete,
            "port": lambda port: delete_port(self._calls, port),
            "floatingip": lambda floating: delete_floating(self._calls, floating),
            "image": self.delete_image,
        }[resource.kind]
        await remove(resource.external_id)

    # -- images ----------------------------------------------------------

    async def upload_image(self, order: ImageUploadOrder) -> str:
        return await upload_image(self._calls, self._clock, order)

    async def list_images(self) -> Sequence[ImageInCloud]:
        return await built_images(self._calls)

    async def delete_image(self, external_id: str) -> None:
        await delete_image(self._calls, external_id)
