"""The fake driver: providers of a configuration, over clouds that outlive their services."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred

from nodepool_tx.config.cloud import CloudProvider
from nodepool_tx.config.fake import FakeProvider
from nodepool_tx.config.schema import ProviderConfig
from nodepool_tx.model import Node, NodeState
from nodepool_tx.providers import DriverRegistry
from nodepool_tx.providers.cloud.service import CloudProviderService
from nodepool_tx.providers.fake.cloud import SimulatedOpenStack
from nodepool_tx.providers.fake.driver import DRIVER, SimulatedClouds, fake_driver
from nodepool_tx.providers.interface import ProviderContext
from tests.config.parsing import parse
from tests.providers.cloud.world import Launcher, World, WorldTestCase

CONFIG = """
labels: [{name: small}, {name: hidden}, {name: dual}, {name: own}, {name: disk}]
diskimages: [{name: built}]
providers:
  - name: fake-cloud
    region-name: here
    cloud: nowhere
    rate: 0
    cloud-images: [{name: precise, image-name: Fake Precise, username: zuul}]
    diskimages: [{name: built}]
    pools:
      - name: main
        security-groups: [some-group]
        labels:
          - {name: small, cloud-image: precise, min-ram: 8192, key-name: some-key}
          - {name: hidden, cloud-image: precise, flavor-name: Unreal Flavor,
             networks: [fake-private-network-name]}
          - {name: dual, cloud-image: precise, min-ram: 1, networks: [fake-ipv6-network-name]}
          - {name: own, cloud-image: precise, min-ram: 1, networks: [some-network]}
          - {name: disk, cloud-image: precise, min-ram: 1, boot-from-volume: true,
             volume-size: 10}
"""


def provider(simulation: str = "{}") -> FakeProvider:
    """The provider of a configuration, with these words about the simulation."""
    config = parse(CONFIG.replace("    rate: 0", f"    rate: 0\n    simulation: {simulation}"))
    (found,) = config.providers.values()
    assert isinstance(found, FakeProvider)
    return found


class DriverCase(WorldTestCase):
    """A world whose launchers have simulated providers."""

    def setUp(self) -> None:
        super().setUp()
        self.clouds = SimulatedClouds()
        self.made: list[SimulatedOpenStack] = []

        def remember(config: FakeProvider, context: ProviderContext) -> SimulatedOpenStack:
            cloud = self.clouds(config, context)
            self.made.append(cloud)
            return cloud

        self.driver = fake_driver(remember)

    @property
    def cloud(self) -> SimulatedOpenStack:
        return self.made[-1]

    def provide(self, config: ProviderConfig, launcher: Launcher | None = None) -> Any:
        """The started service of a provider."""
        launcher = launcher or self.world.launcher()
        service = self.driver.build(config, launcher.context)
        assert isinstance(service, CloudProviderService)
        service.setServiceParent(launcher.root)
        self.world.wait(1, step=0.05)
        return service

    def ready(self, service: CloudProviderService, label: str) -> Node:
        """A node of that label, as it is when it can be used."""
        node_id = self.world.order(service, label)
        self.world.wait(3, step=0.05)
        node = self.world.node(node_id)
        self.assertEqual(node.state, NodeState.READY)
        return node


class DriverTests(DriverCase):
    def test_found_by_name(self) -> None:
        """The driver is one of those that are built in."""
        self.assertIs(DriverRegistry({}).find("fake"), DRIVER)

    def test_ready(self) -> None:
        """A node is ready soon, with simulated addresses and a simulated key, uncontacted."""
        service = self.provide(provider())
        node = self.ready(service, "small")
        assert node.interface_ip is not None
        self.assertTrue(node.interface_ip.startswith("198.18."))
        self.assertEqual(node.host_keys, ("ssh-rsa FAKEKEY",))
        self.assertEqual((node.cloud, node.region, node.username), ("nowhere", "here", "zuul"))
        self.assertIn(node.az, ("az1", "az2"))
        self.assertEqual(node.resources, {"instances": 1, "cores": 4, "ram": 8192})
        self.assertEqual(self.world.scanner.looks, [])
        (server,) = self.cloud.compute.servers.values()
        self.assertEqual(server.order.key_name, "some-key")
        self.assertEqual(server.order.security_groups, ("some-group",))

    def test_it_is_said(self) -> None:
        """The log says once that a provider is simulated."""
        launcher = self.world.launcher()
        for _ in range(2):
            self.driver.build(provider(), launcher.context)
        said = [e for e in self.world.logged if "simulated" in str(e.get("log_format"))]
        self.assertEqual([each["provider"] for each in said], ["fake-cloud"])

    def test_how_fast(self) -> None:
        """A node is ready within two tenths of a second, as a boot takes one."""
        service = self.provide(provider())
        self.ready(service, "small")
        node_id = self.world.order(service, "small")
        self.world.wait(0.2, step=0.01)
        self.assertEqual(self.world.node(node_id).state, NodeState.READY)

    def test_networks(self) -> None:
        """Each network gives the addresses it is meant to give."""
        service = self.provide(provider())
        hidden, dual, own = (self.ready(service, each) for each in ("hidden", "dual", "own"))
        self.assertTrue(str(hidden.public_ipv4).startswith("198.18."))
        self.assertTrue(str(hidden.private_ipv4).startswith("198.19."))
        self.assertTrue(str(dual.public_ipv6).startswith("2001:db8:"))
        self.assertTrue(str(own.public_ipv4).startswith("198.18."))
        for node in (hidden, dual, own):
            self.assertEqual(node.host_keys, ("ssh-rsa FAKEKEY",))
        self.assertEqual(self.world.scanner.looks, [])

    def test_a_node_given_back(self) -> None:
        """Its server, ports, volume and floating address go."""
        service = self.provide(provider())
        nodes = [self.ready(service, label) for label in ("hidden", "disk")]
        ports = len(self.cloud.networks.ports)
        self.assertEqual(len(self.cloud.volumes.volumes), 1)
        self.assertEqual(len(self.cloud.networks.floating), 1)
        for node in nodes:
            self.world.use(str(node.id))
            self.world.give_back(str(node.id))
        self.world.wait(5, step=0.05)
        self.assertEqual(self.world.nodes(), {})
        self.assertEqual(self.cloud.compute.servers, {})
        self.assertEqual(self.cloud.volumes.volumes, {})
        self.assertEqual(self.cloud.networks.floating, {})
        self.assertEqual(len(self.cloud.networks.ports), ports - 3)

    def test_images_of_builders(self) -> None:
        """Servers are made from whatever image a builder says that it has uploaded."""
        service = self.provide(provider())
        self.assertTrue(self.cloud.images.adopt)
        self.assertEqual(
            self.failureResultOf(
                Deferred.fromCoroutine(service._adapter.delete_image("uploaded-elsewhere"))
            ).type.__name__,
            "Gone",
        )


class DocumentationTests(DriverCase):
    def test_the_example(self) -> None:
        """The example for operators can be used as it stands, and does what it says."""
        page = Path(__file__).parents[3] / "docs" / "operations.md"
        (example,) = (
            block
            for block in re.findall(r"```yaml\n(.*?)```", page.read_text(), re.DOTALL)
            if "driver: fake" in block
        )
        config = parse("labels: [{name: debian-large}]\n" + example)
        trial = config.providers["trial"]
        assert isinstance(trial, FakeProvider)
        self.assertEqual(trial.simulation.max_instances, 50)
        service = self.provide(trial)
        node_id = self.world.order(service, "debian-large")
        self.world.wait(120)
        node = self.world.node(node_id)
        self.assertEqual(node.state, NodeState.READY)
        self.assertEqual(node.resources, {"instances": 1, "cores": 8, "ram": 16384})


class ReloadTests(DriverCase):
    def test_a_reload(self) -> None:
        """A changed provider has the servers of the one before, and behaves as it says."""
        launcher = self.world.launcher()
        before = self.provide(provider(), launcher)
        node = self.ready(before, "small")
        before.idle()
        self.world.settle()
        self.successResultOf(before.retired())
        before.disownServiceParent()
        self.world.settle()
        after = self.provide(provider("{max-instances: 3}"), launcher)
        self.assertIs(self.made[0], self.made[1])
        self.world.wait(200, step=1.0)
        self.assertEqual(self.world.node(str(node.id)).state, NodeState.READY)
        self.assertEqual(len(self.cloud.compute.servers), 1)
        quota = self.successResultOf(Deferred.fromCoroutine(after._adapter.quota()))
        self.assertEqual(quota["instances"], 3)

    def test_a_cloud_for_each_provider(self) -> None:
        """Two providers, and the providers of two launchers, share nothing."""
        first, second = self.world.launcher("l1"), self.world.launcher("l2")
        other = FakeProvider(name="fake-other", driver="fake")
        for launcher in (first, second):
            for config in (provider(), other):
                self.driver.build(config, launcher.context)
        self.assertEqual(len(set(map(id, self.made))), 4)

    def test_a_removed_provider(self) -> None:
        """One of which only the name is left can be built, to be emptied."""
        launcher = self.world.launcher()
        service = self.driver.build(
            ProviderConfig(name="fake-cloud", driver="fake"), launcher.context
        )
        self.assertIsInstance(service.config, FakeProvider)

    def test_another_drivers_provider(self) -> None:
        """A provider that is configured for another driver is refused."""
        config = CloudProvider(name="fake-cloud", driver="fake")
        with self.assertRaises(TypeError):
            self.driver.build(config, self.world.launcher().context)


class WorldOfManyTests(DriverCase):
    """Many launches at once."""

    def make_world(self) -> World:
        return World(quota={"instances": math.inf})

    def test_two_hundred(self) -> None:
        """Two hundred nodes that are ordered at once take a handful of listings."""
        limits = "{max-instances: 1000, max-cores: 10000, max-ram: 100000000}"
        service = self.provide(provider(limits))
        self.ready(service, "small")
        transport = service._adapter._transport._transport
        before = transport.calls["compute", "GET", "servers"]
        ids = [self.world.order(service, "small") for _ in range(200)]
        self.world.wait(1, step=0.05)
        states = {self.world.node(node_id).state for node_id in ids}
        self.assertEqual(states, {NodeState.READY})
        listings = transport.calls["compute", "GET", "servers"] - before
        self.assertLess(listings, 20)

    def test_a_bad_cloud(self) -> None:
        """Whatever fails, launches end, and what they made is gone when nodes are given back."""
        for seed in range(3):
            settings = (
                f"{{api-failure-rate: 0.1, boot-failure-rate: 0.2, api-delay: 0.1, seed: {seed}, "
                "max-instances: 1000, max-cores: 10000, max-ram: 100000000}"
            )
            launcher = self.world.launcher(f"l{seed}")
            service = self.provide(provider(settings), launcher)
            ports = len(self.cloud.networks.ports)
            for label in ("hidden", "disk") * 15:
                self.world.order(service, label)
            self.world.wait(900)
            # Those that failed have been removed.
            nodes = self.world.nodes()
            self.assertEqual({node.state for node in nodes.values()}, {NodeState.READY})
            self.assertGreater(len(nodes), 20)
            servers = {str(node.external_id) for node in nodes.values()}
            self.assertEqual(self.cloud.compute.servers.keys(), servers)
            for node_id in nodes:
                self.world.use(node_id)
                self.world.give_back(node_id)
            self.world.wait(900)
            self.assertEqual(self.world.nodes(), {})
            self.assertEqual(self.cloud.compute.servers, {})
            self.assertEqual(self.cloud.networks.floating, {})
            self.assertEqual(self.cloud.volumes.volumes, {})
            self.assertEqual(len(self.cloud.networks.ports), ports)
            stopped = launcher.stop()
            self.world.wait(15)
            self.successResultOf(stopped)
            self.world.launchers.remove(launcher)
