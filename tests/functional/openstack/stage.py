"""What the tests of the OpenStack adapter need of a real cloud."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import attrs
from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.threads import deferToThread

from nodepool_tx.config.frozen import FrozenMapping
from nodepool_tx.config.openstack import (
    OpenStackImage,
    OpenStackLabel,
    OpenStackPool,
    OpenStackProvider,
)
from nodepool_tx.providers.cloud.interface import (
    PROVIDER_NAME,
    ImageUploadOrder,
    Instance,
    InstanceState,
    Order,
    Resource,
)
from nodepool_tx.providers.openstack.adapter import OpenStackAdapter
from nodepool_tx.providers.openstack.calls import Calls
from nodepool_tx.providers.openstack.credentials import Access, Credentials
from nodepool_tx.providers.openstack.http import HttpTransport
from nodepool_tx.providers.openstack.keystone import Token
from tests.contract.cloud_stage import AdapterStage
from tests.functional.openstack.gateway import Gateway
from tests.servers.openstack.settings import BROKEN

__all__ = ["RealCloud", "Stale"]

#: Where the cloud's client configuration is; see conftest.py.
CONFIGURATION = "OS_CLIENT_CONFIG_FILE"


def offload(work: Callable[[], Any]) -> Deferred[Any]:
    return deferToThread(work)


class WithoutBroken(OpenStackAdapter):
    """Does not offer the zone where no server can be made."""

    async def zones(self) -> Sequence[str]:
        return [zone for zone in await super().zones() if zone != BROKEN]


class RealCloud(AdapterStage):
    """One user of the real cloud, by way of a gateway."""

    timeout = 600
    patience = 45.0
    cloud = "real-quota"

    #: What the label of these tests says, where a test wants it otherwise.
    flavor = "m1.tiny"
    zone: str | None = "az1"

    @cached_property
    def gateways(self) -> dict[str, Gateway]:
        return {}

    def gateway_to(self, cloud: str) -> Gateway:
        """The way to a cloud, as the user of that name."""
        if cloud not in self.gateways:
            gateway = Gateway(reactor, Path(os.environ[CONFIGURATION]), cloud)
            self.addCleanup(lambda: Deferred.fromCoroutine(gateway.stop()))
            self.gateways[cloud] = gateway
        return self.gateways[cloud]

    @property
    def gateway(self) -> Gateway:
        return self.gateway_to(self.cloud)

    def config(self, cloud: str) -> OpenStackProvider:
        return OpenStackProvider(
            name=self.provider,
            driver="openstack",
            cloud=cloud,
            pools=(self.pool(),),
            clean_floating_ips=True,
            port_cleanup_interval=1,
        )

    def transport(self, cloud: str | None = None) -> HttpTransport:
        cloud = cloud or self.cloud
        credentials = Credentials(reactor, offload, cloud=cloud, find=self.gateway_to(cloud).find)
        return HttpTransport(reactor, credentials, offload)

    def calls(self, cloud: str | None = None) -> Calls:
        """For what tests ask the cloud themselves."""
        transport = self.transport(cloud)
        transport.start()
        self.addCleanup(lambda: Deferred.fromCoroutine(transport.stop()))
        return Calls(transport)

    def adapter_over(self, transport: HttpTransport) -> OpenStackAdapter:
        """A started adapter, stopped when the test is over."""
        adapter = OpenStackAdapter(self.config(transport.cloud or ""), transport, reactor)
        adapter.start()
        self.addCleanup(lambda: Deferred.fromCoroutine(adapter.stop()))
        return adapter

    # -- what the contract asks for --------------------------------------

    def make_adapter(self) -> OpenStackAdapter:
        adapter = WithoutBroken(self.config(self.cloud), self.transport(), reactor)
        self.adapters.append(adapter)
        return adapter

    @cached_property
    def adapters(self) -> list[OpenStackAdapter]:
        return []

    def pool(self) -> OpenStackPool:
        return OpenStackPool(name="main", provider_name=self.provider)

    def label(self) -> OpenStackLabel:
        image = OpenStackImage("tiny")
        return OpenStackLabel("small", image, flavor_name=self.flavor, networks=("private",))

    def order(self, node_id: str = "0000000001", **changes: Any) -> Order:
        return super().order(node_id, **{"zone": self.zone, **changes})

    async def exhaust_quota(self) -> None:
        adapter = self.adapter()
        orders = [self.order(f"000000001{n}") for n in range(3)]
        made = await gatherResults(
            [Deferred.fromCoroutine(self.create(adapter, order)) for order in orders]
        )
        # Nova may overlook those that it is just about to place.
        for external_id in made:
            await self.active(adapter, external_id)

    async def fill_up(self) -> str | None:
        # No host has a disk of that size.
        self.flavor = "m1.impossible"
        return "az1"

    async def fail_a_server(self) -> None:
        self.zone = BROKEN

    async def bad_label(self) -> OpenStackLabel:
        return attrs.evolve(self.label(), key_name="nobody-has-it")

    async def impossible_label(self) -> OpenStackLabel:
        return attrs.evolve(self.label(), min_ram=1 << 40)

    async def missing_image(self) -> OpenStackLabel:
        return attrs.evolve(self.label(), image=OpenStackImage("nobody-has-it"))

    async def ask_for_peace(self) -> float | None:
        self.gateway.spoil = self._once("POST /compute/v2.1/servers", 503, {"Retry-After": "2"})
        return 2

    async def break_the_api(self) -> None:
        self.gateway.spoil = lambda _: (500, {})

    async def silence_the_api(self) -> None:
        # Keystone is not behind the gateway: whoever is to be kept waiting has logged in.
        for adapter in self.adapters:
            await adapter.zones()
        self.gateway.silent = True

    async def mend_the_api(self) -> None:
        self.gateway.heal()

    async def lose_an_answer(self) -> None:
        self.gateway.lose = lambda what: what == "POST /compute/v2.1/servers"

    async def remove_server(self, external_id: str) -> None:
        await self.calls().ask("delete", "compute", "DELETE", f"/servers/{external_id}")

    async def add_unmanaged(self) -> str:
        adapter = self.adapter()
        external_id: str = await adapter.create(attrs.evolve(self.order(), metadata={}))
        self.addCleanup(lambda: Deferred.fromCoroutine(self.delete(adapter, external_id)))
        return external_id

    async def leave_leftover(self, metadata: Mapping[str, str]) -> Resource:
        order = attrs.evolve(await self.image_file(), metadata=metadata)
        return Resource(kind="image", external_id=await self.adapter().upload_image(order))

    async def leave_orphan(self) -> Resource:
        return await self.floating_ip(self.calls())

    async def image_file(self) -> ImageUploadOrder:
        path = Path(self.mktemp())
        path.write_bytes(os.urandom(1 << 20))
        return ImageUploadOrder(
            name="uploaded-1",
            path=path,
            format="raw",
            meta=FrozenMapping({"hw_disk_bus": "scsi", "min_disk": 1}),
            metadata={PROVIDER_NAME: self.provider, "nodepool_build_id": "7"},
            md5="m",
            sha256="s",
        )

    # -- steps of our own ------------------------------------------------

    def _once(
        self, what: str, status: int, headers: dict[str, str]
    ) -> Callable[[str], tuple[int, dict[str, str]] | None]:
        left = [(status, headers)]
        return lambda asked: left.pop() if asked == what and left else None

    async def floating_ip(self, calls: Calls) -> Resource:
        """A floating address that leads nowhere."""
        networks = await calls.get("look", "network", "/networks", "networks")
        (external,) = (each["id"] for each in networks if each["router:external"])
        body = {"floatingip": {"floating_network_id": external}}
        made = await calls.ask("make", "network", "POST", "/floatingips", json=body)
        return Resource(kind="floatingip", external_id=made["floatingip"]["id"])

    async def active(self, adapter: OpenStackAdapter, external_id: str) -> Instance:
        """Wait for a server to be built."""

        async def look() -> Instance | None:
            seen = await self.find(adapter, external_id)
            return seen if seen and seen.state is InstanceState.ACTIVE else None

        seen = await self.until(look, "the server to be active")
        assert isinstance(seen, Instance)
        return seen

    async def raw(self, external_id: str) -> dict[str, Any]:
        """A server as Nova shows it."""
        found: dict[str, Any] = await self.calls().get(
            "look", "compute", f"/servers/{external_id}", "server"
        )
        return found

    async def resources(self, adapter: OpenStackAdapter, kind: str) -> Sequence[Resource]:
        return [each for each in await adapter.list_resources() if each.kind == kind]


class Stale:
    """A log-in whose first token has run out, as far as services are concerned."""

    def __init__(self, real: Credentials) -> None:
        self._real = real
        self._stale = Access(Token({"X-Auth-Token": "gAAAAA-of-yesterday"}), None, None)
        self.refused = 0
        self.expired = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

    async def access(self) -> Access:
        return self._stale if self.expired else await self._real.access()

    def refuse(self, access: Access) -> None:
        self.refused += 1
        self.expired = False
