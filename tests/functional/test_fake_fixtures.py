"""The configurations that Nodepool 11 tests its fake cloud with, served by ours."""

from __future__ import annotations

import re
import tarfile
from collections.abc import Iterator
from hashlib import sha256

import pytest
from twisted.internet.defer import Deferred

from benchmarks.cached_venvs import cache_directory
from nodepool_tx.config import Config, ConfigErrors
from nodepool_tx.config.cloud import CloudLabel
from nodepool_tx.config.fake import FakeProvider
from nodepool_tx.model import ImageState, ImageUpload, Node, NodeState
from nodepool_tx.providers.cloud.service import CloudProviderService
from nodepool_tx.providers.fake.driver import SimulatedClouds, fake_driver
from nodepool_tx.providers.fake.transport import SimulatedTransport
from nodepool_tx.store import paths
from nodepool_tx.store.codec import encode_image_upload
from tests.config.parsing import parse
from tests.functional.test_config_reference import (
    FILLED_IN,
    FIXTURES,
    RELEASE,
    SHA256,
    _download,
)
from tests.providers.cloud.world import World

#: Part of a flavor's name in a few of the files, where there is no such flavor:
#: their tests look at builders only.
NO_FLAVOR = "fake"


@pytest.fixture(scope="module")
def configurations() -> dict[str, Config]:
    """Nodepool's files that have simulated providers, by name, as ours reads them."""
    archive = cache_directory() / f"{RELEASE}.tar.gz"
    if not archive.exists():
        _download(archive)
    assert sha256(archive.read_bytes()).hexdigest() == SHA256
    found: dict[str, Config] = {}
    with tarfile.open(archive) as files:
        for file in files:
            if file.name.startswith(FIXTURES) and file.name.endswith(".yaml"):
                stream = files.extractfile(file)
                assert stream is not None
                config = _read(stream.read().decode())
                if config is not None:
                    found[file.name.removeprefix(FIXTURES)] = config
    return found


def _read(text: str) -> Config | None:
    filled_in = re.sub(r"\{([a-z_]+)\}", lambda name: FILLED_IN.get(name[1], name[1]), text)
    try:
        config = parse(filled_in, env={"NODEPOOL_PORT": "8005"})
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

    def node(self, pool: str, label: str) -> Node | None:
        """What becomes of a node of that label that a pool orders."""
        making, request = self.service.making, self.world.request(label)
        node_id = self.world.put_node(
            making.draft(pool, label, request, making.zone_for(pool, [label]))
        )
        making.make(node_id, request)
        for _ in range(60):
            self.world.wait(1, step=0.1)
            node = self.world.nodes().get(node_id)
            if node is None or node.state not in (NodeState.INIT, NodeState.BUILDING):
                break
        return node

    def close(self) -> None:
        self.world.close()
        stopped = self._launcher.stop()
        self.world.settle()
        if not stopped.called:
            self.world.wait(15)
        assert stopped.called


def test_all_of_them(configurations: dict[str, Config]) -> None:
    """Each label of each simulated provider gives a node that can be used."""
    served, without = 0, 0
    for name, config in configurations.items():
        for provider in providers_of(config):
            stage = Served(provider)
            for pool in provider.pools:
                for label in pool.cloud_labels.values():
                    node = stage.node(pool.name, label.name)
                    where = f"{name}: {provider.name}: {label.name}: {node}"
                    if getattr(label, "flavor_name", None) == NO_FLAVOR:
                        assert node is None or node.state is not NodeState.READY, where
                        without += 1
                        continue
                    assert node is not None, where
                    assert node.state is NodeState.READY, where
                    _check(node, provider, label, where)
                    served += 1
            assert stage.world.failures == []
            stage.close()
    assert (served, without) == (117, 4)


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
