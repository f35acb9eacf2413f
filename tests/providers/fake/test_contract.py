"""The OpenStack adapter keeps the contract of adapters with a simulated cloud."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path

import attrs
from twisted.internet.defer import Deferred
from twisted.trial.unittest import TestCase

from nodepool_tx.config.cloud import CloudLabel, CloudPool
from nodepool_tx.config.fake import FakeProvider, FakeSimulation
from nodepool_tx.config.frozen import FrozenMapping
from nodepool_tx.config.openstack import OpenStackImage, OpenStackLabel, OpenStackPool
from nodepool_tx.providers.cloud.interface import IMAGE_NAME, ImageUploadOrder, Resource
from nodepool_tx.providers.fake.cloud import SimulatedOpenStack
from nodepool_tx.providers.fake.transport import SimulatedTransport
from nodepool_tx.providers.fake.troubles import Trouble, broken, overloaded
from nodepool_tx.providers.openstack.adapter import OpenStackAdapter
from nodepool_tx.providers.openstack.transport import Answer
from tests.contract.cloud import AdapterContract, VirtualTime, contract

IMAGE = OpenStackImage("precise", image_name="Fake Precise")


class FakeContractTests(VirtualTime, AdapterContract, TestCase):
    """The contract, with servers that have public and private addresses from the start."""

    networks: tuple[str, ...] = ()

    @cached_property
    def cloud(self) -> SimulatedOpenStack:
        simulation = FakeSimulation(
            api_delay=0.2, boot_delay=10.0, delete_delay=5.0, max_instances=10, seed=1
        )
        return SimulatedOpenStack(self.clock, simulation)

    def change(self, **changes: object) -> None:
        self.cloud.configure(attrs.evolve(self.cloud.simulation, **changes))

    @cached_property
    def transport(self) -> SimulatedTransport:
        """The one whose calls go wrong."""
        return SimulatedTransport(self.cloud)

    def make_adapter(self) -> OpenStackAdapter:
        transport = SimulatedTransport(self.cloud, "fake", "here")
        transport.troubles = self.transport.troubles
        config = FakeProvider(
            name=self.provider,
            driver="fake",
            pools=(self.pool(),),
            clean_floating_ips=True,
            port_cleanup_interval=1,
        )

        return OpenStackAdapter(config, transport, self.clock)

    def pool(self) -> OpenStackPool:
        return OpenStackPool(
            name="main",
            provider_name=self.provider,
            cloud_labels=FrozenMapping({"small": self.label()}),
        )

    def label(self) -> OpenStackLabel:
        return OpenStackLabel("small", IMAGE, min_ram=8192, networks=self.networks)

    async def exhaust_quota(self) -> None:
        self.change(max_cores=3)

    async def fill_up(self) -> str | None:
        self.change(capacity=FrozenMapping({"az2": 0}))
        return "az2"

    async def bad_label(self) -> CloudLabel:
        return attrs.evolve(self.label(), key_name="nobody's")

    async def impossible_label(self) -> CloudLabel:
        return attrs.evolve(self.label(), min_ram=8193)

    async def missing_image(self) -> CloudLabel:
        image = attrs.evolve(IMAGE, image_name="lost")
        return attrs.evolve(self.label(), image=image)

    async def ask_for_peace(self) -> float | None:
        trouble = Trouble(overloaded(7))
        self.transport.troubles.order("compute", "POST", "servers", trouble)
        return 7

    async def break_the_api(self) -> None:
        self.transport.troubles.lasting = Trouble(broken())

    async def silence_the_api(self) -> None:
        self.transport.troubles.silent = True

    async def mend_the_api(self) -> None:
        self.transport.troubles.lasting = None
        self.transport.troubles.silent = False

    async def lose_an_answer(self) -> None:
        trouble = Trouble(None, takes_effect=True)
        self.transport.troubles.order("compute", "POST", "servers", trouble)

    async def fail_a_server(self) -> None:
        self.change(boot_failure_rate=1.0)

    async def remove_server(self, external_id: str) -> None:
        await self.ask("compute", "DELETE", f"/servers/{external_id}")

    async def add_unmanaged(self) -> str:
        flavor = next(iter(self.cloud.compute.flavors))
        server = {"name": "mine", "imageRef": "fake-image-id", "flavorRef": flavor}
        answer = await self.ask("compute", "POST", "/servers", {"server": server})
        return str(answer.body["server"]["id"])

    async def leave_leftover(self, metadata: Mapping[str, str]) -> Resource:
        answer = await self.ask("image", "POST", "/images", {"name": "left", **metadata})
        return Resource(kind="image", external_id=answer.body["id"])

    async def leave_orphan(self) -> Resource:
        network = self.cloud.networks.public.id
        body = {"floatingip": {"floating_network_id": network}}
        answer = await self.ask("network", "POST", "/floatingips", body)
        return Resource(kind="floatingip", external_id=answer.body["floatingip"]["id"])

    async def image_file(self) -> ImageUploadOrder:
        path = Path(self.mktemp())
        path.write_bytes(b"x" * 3_000_000)
        return ImageUploadOrder(
            name="debian-1",
            path=path,
            format="qcow2",
            meta={"min_disk": 1, "speed": 3},
            metadata={IMAGE_NAME: "debian"},
        )

    async def ask(self, service: str, method: str, path: str, json: object = None) -> Answer:
        answer = await SimulatedTransport(self.cloud).request(service, method, path, json=json)
        assert answer.status < 300, answer
        return answer


class FloatingContractTests(FakeContractTests):
    """The contract, with servers that need floating addresses."""

    networks = ("fake-private-network-name",)


class VolumeContractTests(FakeContractTests):
    """The contract, with servers that boot from volumes."""

    def label(self) -> OpenStackLabel:
        return attrs.evolve(super().label(), boot_from_volume=True, volume_size=10)

    @contract()
    async def test_resources_of_a_server(self) -> None:
        """A server counts for what its label needs once it has its volume."""
        adapter = self.adapter()
        order = self.order()
        server_id = await self.create(adapter, order)
        instance = await self.finished(adapter, server_id, order)
        self.assertEqual(instance.resources, await adapter.needs(self.label()))
        self.assertEqual(len(self.cloud.volumes.volumes), 1)
        await self.delete(adapter, server_id)
        self.assertEqual(self.cloud.volumes.volumes, {})


class AddressTests(VirtualTime, TestCase):
    """What servers on each of the networks are reached by."""

    def reached(self, networks: tuple[str, ...], **changes: object) -> object:
        """A server of a label on these networks, finished."""
        case = FakeContractTests()
        case.__dict__["clock"] = self.clock
        case.networks = networks
        adapter = case.make_adapter()

        async def run() -> object:
            order = case.order(**changes)
            server_id = await adapter.create(order)
            return await case.finished(adapter, server_id, order)

        result: list[object] = []
        self.drive(Deferred.fromCoroutine(run()).addCallback(result.append))
        return result[0]

    def test_without_networks(self) -> None:
        """A server that asks for no network has a public and a private address."""
        server = self.reached(())
        self.assertTrue(server.public_ipv4.startswith("198.18."))
        self.assertTrue(server.private_ipv4.startswith("198.19."))
        self.assertEqual(server.interface_ip, server.public_ipv4)
        self.assertIsNone(server.public_ipv6)

    def test_private(self) -> None:
        """A server on the private network alone is given a floating address."""
        server = self.reached(("fake-private-network-name",))
        self.assertTrue(server.public_ipv4.startswith("198.18."))
        self.assertTrue(server.private_ipv4.startswith("198.19."))
        self.assertEqual(server.interface_ip, server.public_ipv4)

    def test_two_protocols(self) -> None:
        """A server on the network with IPv6 has both kinds of public addresses."""
        server = self.reached(("fake-ipv6-network-name",))
        self.assertTrue(server.public_ipv4.startswith("198.19."))
        self.assertTrue(server.public_ipv6.startswith("2001:db8:"))

    def test_no_floating_address(self) -> None:
        """A server on the network without a way out has a private address only."""
        pool = CloudPool(name="main", provider_name="contract")
        server = self.reached(("no-auto-ip-network-name",), pool=pool)
        self.assertIsNone(server.public_ipv4)
        self.assertEqual(server.interface_ip, server.private_ipv4)
