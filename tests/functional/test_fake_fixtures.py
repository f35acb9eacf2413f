"""The configurations that Nodepool 11 tests its fake cloud with, served by ours."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from twisted.internet.defer import Deferred

from nodepool_tx.config import Config, ConfigErrors
from nodepool_tx.config.cloud import CloudLabel
from nodepool_tx.config.fake import FakeProvider
from nodepool_tx.model import ImageState, ImageUpload, Node, RequestState
from nodepool_tx.providers.cloud.service import CloudProviderService
from nodepool_tx.providers.fake.driver import SimulatedClouds, fake_driver
from nodepool_tx.providers.fake.transport import SimulatedTransport
from nodepool_tx.store import paths
from nodepool_tx.store.codec import decode_request, encode_image_upload
from tests.config.parsing import parse
from tests.functional.upstream_files import fixtures
from tests.providers.cloud.world import World

#: Labels that nobody can have: a pool without servers, and a flavor that there
#: is not ("fake" is no part of "Fake Flavor").  Nodepool 11 does not serve them either.
UNSERVED = {
    ("disabled_provider.yaml", "fake-provider", "fake-label"),
    ("node_cmd.yaml", "fake-provider1", "fake-label1"),
    ("node_cmd.yaml", "fake-provider2", "fake-label2"),
    ("node_disabled_label.yaml", "fake-provider", "fake-label"),
    ("node_diskimage_fail.yaml", "fake-provider", "fake-label"),
}


@pytest.fixture(scope="module")
def configurations() -> dict[str, Config]:
    """Nodepool's files that have simulated providers, by name, as ours reads them."""
    found = {name: _read(text) for name, text in fixtures().items()}
    return {name: config for name, config in found.items() if config is not None}


def _read(text: str) -> Config | None:
    try:
        config = parse(text, env={"NODEPOOL_PORT": "8005"})
    except ConfigErrors:
        return None
    simulated = any(isinstance(each, FakeProvider) for each in config.providers.values())
    return config if simulated else None


def providers_of(config: Config) -> Iterator[FakeProvider]:
    return (each for each in config.providers.values() if isinstance(each, FakeProvider))


class Served:
    """A launcher in memory that has a provider of one of the files."""

    def __init__(self, config: FakeProvider) -> None:
        self.world = World()
        clouds = SimulatedClouds()
        launcher = self.world.launcher()
        for name in config.diskimages:
            self._upload(config, name)
        self._add_images(SimulatedTransport(clouds(config, launcher.context)), config)
        service = fake_driver(clouds).build(config, launcher.context)
        assert isinstance(service, CloudProviderService)
        self.service = service
        service.setServiceParent(launcher.root)
        self.world.wait(1, step=0.05)
        self._launcher = launcher

    def _upload(self, config: FakeProvider, image: str) -> None:
        """Say that a builder has uploaded an image."""
        upload = ImageUpload(
            state=ImageState.READY,
            state_time=self.world.clock.seconds(),
            external_id=f"id-of-{image}",
            external_name=image,
        )
        path = paths.image_upload(image, "0000000001", config.name, "0000000001")
        self.world.inspector.create(path, encode_image_upload(upload))

    def _add_images(self, transport: SimulatedTransport, config: FakeProvider) -> None:
        """Make the images that Nodepool's tests put into their cloud themselves."""
        for image in config.cloud_images.values():
            body = {"name": image.external_name, "disk_format": "raw", "container_format": "bare"}
            if image.external_name == "fake-image-id":
                continue
            made = Deferred.fromCoroutine(transport.request("image", "POST", "/images", json=body))
            made.addCallback(lambda answer: self._activate(transport, answer.body["id"]))
            assert made.called

    @staticmethod
    def _activate(transport: SimulatedTransport, image_id: str) -> None:
        transport._cloud.images.find(image_id).status = "active"

    def node(self, label: str) -> Node | None:
        """The node that a request for that label gets; None if the request fails."""
        world = self.world
        request_id = world.request(label, state=RequestState.REQUESTED).id
        path = paths.request(str(request_id))
        for _ in range(60):
            world.wait(1, step=0.1)
            request = decode_request(str(request_id), world.inspector.dump(path)[path])
            if request.state in (RequestState.FULFILLED, RequestState.FAILED):
                break
        nodes = [world.node(node_id) for node_id in request.nodes]
        for node in nodes:
            world.use(str(node.id))
            world.give_back(str(node.id))
        world.inspector.delete(path)
        world.wait(5)
        assert world.nodes() == {}
        assert request.state is (RequestState.FULFILLED if nodes else RequestState.FAILED), request
        return nodes[0] if nodes else None

    def close(self) -> None:
        self.world.close()
        stopped = self._launcher.stop()
        self.world.settle()
        if not stopped.called:
            self.world.wait(15)
        assert stopped.called


def test_all_of_them(configurations: dict[str, Config]) -> None:
    """A request for each label of each simulated provider gets a node that can be used."""
    served = 0
    failed: set[tuple[str, str, str]] = set()
    for name, config in configurations.items():
        for provider in providers_of(config):
            stage = Served(provider)
            labels = {
                label.name: label for pool in provider.pools for label in pool.cloud_labels.values()
            }
            for label in labels.values():
                node = stage.node(label.name)
                if node is None:
                    failed.add((name, provider.name, label.name))
                    continue
                _check(node, provider, label, f"{name}: {provider.name}: {label.name}: {node}")
                served += 1
            assert stage.world.failures == []
            stage.close()
    assert failed == UNSERVED
    assert served == 116


def _check(node: Node, provider: FakeProvider, label: CloudLabel, where: str) -> None:
    """A node is as in Nodepool 11, but for its addresses, which are not words there."""
    networks = getattr(label, "networks", ())
    assert (node.cloud, node.region) == (provider.cloud, provider.region_name), where
    assert node.resources is not None
    assert node.resources["cores"] == 4, where
    assert node.az in ("az1", "az2"), where
    if networks == ("no-auto-ip-network-name",):
        assert node.public_ipv4 is None, where
        assert node.interface_ip == node.private_ipv4, where
    else:
        assert str(node.public_ipv4).startswith("198.1"), where
    assert (node.public_ipv6 is not None) == (networks == ("fake-ipv6-network-name",)), where
    assert node.host_keys in ((), ("ssh-rsa FAKEKEY",)), where
    assert bool(node.host_keys) == (
        label.host_key_checking and node.connection_type in ("ssh", "network_cli")
    ), where
