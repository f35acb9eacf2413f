"""The guide for authors of drivers: its example is a package that loads, and serves."""

from __future__ import annotations

import importlib
import re
import sys
import unittest
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from twisted.trial import reporter

from nodepool_tx.config import ConfigErrors, default_drivers, load_config
from nodepool_tx.config.schema import ProviderConfig
from nodepool_tx.model import NodeState, RequestState
from nodepool_tx.providers import DriverRegistry
from nodepool_tx.providers.cloud import errors
from nodepool_tx.providers.cloud.interface import CloudAdapter
from nodepool_tx.providers.cloud.service import CloudProviderService
from nodepool_tx.providers.interface import Phase
from nodepool_tx.store import paths
from nodepool_tx.store.codec import decode_request
from tests.contract.cloud import ABILITIES
from tests.providers.cloud.world import World

GUIDE = (Path(__file__).parents[3] / "docs" / "drivers.md").read_text()
BLOCKS = dict(re.findall(r"^```\w+ (\S+)\n(.*?)^```$", GUIDE, re.M | re.S))
MODULES = ("nodepool_shed", "test_nodepool_shed")


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The example, installed in a directory of its own as pip does it."""
    project = dict(re.findall(r'^(\S+) = "(.*)"$', BLOCKS["pyproject.toml"], re.M))
    (group,) = re.findall(r'^\[project.entry-points."(.*)"\]$', BLOCKS["pyproject.toml"], re.M)
    info = tmp_path / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n"
    )
    (info / "entry_points.txt").write_text(f"[{group}]\nshed = {project['shed']}\n")
    for name in ("nodepool_shed.py", "test_nodepool_shed.py", "nodepool.yaml"):
        (tmp_path / name).write_text(BLOCKS[name])
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path
    for module in MODULES:
        sys.modules.pop(module, None)


@pytest.fixture
def world() -> Iterator[World]:
    world = World()
    yield world
    world.close()
    for launcher in world.launchers:
        launcher.stop()
    world.wait(15.0)
    world.visitor.close()
    world.settle()
    assert world.clock.getDelayedCalls() == []
    assert world.failures == []


def provide(world: World, config: ProviderConfig) -> CloudProviderService:
    """Start a provider as the launcher does: by the name of its driver."""
    launcher = world.launcher()
    service: Any = DriverRegistry().find(config.driver).build(config, launcher.context)
    assert isinstance(service, CloudProviderService)
    service.setServiceParent(launcher.root)
    world.settle()
    return service


def test_it_is_installed(package: Path) -> None:
    """The entry point of the guide's package is found by both registries, and not imported."""
    assert version("nodepool-shed") == "1.0"
    assert "shed" in default_drivers().available
    assert "shed" in DriverRegistry().names()
    assert "nodepool_shed" not in sys.modules


def test_its_section_is_read(package: Path) -> None:
    """The guide's configuration becomes values that compare by value."""
    config, again = (load_config(str(package / "nodepool.yaml"), env={}) for _ in range(2))
    assert config.warnings == ()
    provider: Any = config.providers["garden"]
    shed = importlib.import_module("nodepool_shed")
    assert isinstance(provider, shed.ShedProvider)
    assert provider == again.providers["garden"]
    assert (provider.shed, provider.launch_retries) == ("behind the house", 3)
    (pool,) = provider.pools
    assert pool.limits == {"instances": 4}
    assert {label.name: label.cores for label in pool.cloud_labels.values()} == {
        "bench": 1,
        "big-bench": 4,
    }


def test_its_mistakes_are_found(package: Path) -> None:
    """Each at its line, all in one go."""
    path = package / "wrong.yaml"
    wrong = BLOCKS["nodepool.yaml"]
    for right, mistake in (
        ("  - name: bench\n", ""),
        ("shed: behind", "shade: behind"),
        ("cores: 4", "cores: none"),
    ):
        wrong = wrong.replace(right, mistake, 1)
    path.write_text(wrong)
    with pytest.raises(ConfigErrors) as caught:
        load_config(str(path), env={})
    found = [(error.line, error.message) for error in caught.value.errors]
    assert found == [
        (4, "a shed needs the key 'shed'"),
        (6, "a shed has no such key"),
        (11, "the label bench is not defined"),
        (13, "must be a whole number, not text: none"),
    ]


def test_it_serves(package: Path, world: World) -> None:
    """A request is fulfilled with machines of the shed, which are taken back after use."""
    config = load_config(str(package / "nodepool.yaml"), env={}).providers["garden"]
    provide(world, config)
    world.wait(10)
    shed = importlib.import_module("nodepool_shed").SHEDS["behind the house"]
    request = world.request("big-bench", "bench", state=RequestState.REQUESTED)
    world.wait(20)
    path = paths.request(request.id)
    request = decode_request(request.id, world.inspector.dump(path)[path])
    assert request.state is RequestState.FULFILLED
    big, small = (world.node(node_id) for node_id in request.nodes)
    assert (big.type, small.type) == (("big-bench",), ("bench",))
    assert {big.interface_ip, small.interface_ip} == {"192.0.2.1", "192.0.2.2"}
    assert (big.state, big.username) == (NodeState.READY, "gardener")
    assert (big.resources, small.resources) == (
        {"instances": 1, "cores": 4},
        {"instances": 1, "cores": 1},
    )
    assert set(shed.machines) == {big.external_id, small.external_id}
    for node in (big, small):
        world.use(node.id)
    world.inspector.delete_tree(path)
    for node in (big, small):
        world.give_back(node.id)
    world.wait(20)
    assert (world.nodes(), shed.machines) == ({}, {})


def test_its_quota_holds(package: Path, world: World) -> None:
    """What does not fit into the shed at one time is made one after the other."""
    config = load_config(str(package / "nodepool.yaml"), env={}).providers["garden"]
    provide(world, config)
    world.wait(10)
    shed = importlib.import_module("nodepool_shed").SHEDS["behind the house"]
    for _ in range(3):
        world.request("big-bench", state=RequestState.REQUESTED)
    world.wait(60)
    assert shed.used() == 8
    first = next(iter(world.nodes()))
    world.use(first)
    world.give_back(first)
    world.wait(60)
    assert shed.used() == 8
    assert first not in world.nodes()
    assert {node.state for node in world.nodes().values()} == {NodeState.READY}


def test_it_is_emptied_without_its_account(package: Path, world: World) -> None:
    """A provider that is known by name only keeps its records, and says what to do."""
    service = provide(world, ProviderConfig(name="garden", driver="shed"))
    assert service.phase is Phase.ACTIVE
    assert world.said("which shed it was is not known")


def test_it_keeps_the_contract(package: Path) -> None:
    """The guide's tests of the example pass, and are as many as its shed can bear."""
    tests = importlib.import_module("test_nodepool_shed")
    suite = unittest.defaultTestLoader.loadTestsFromTestCase(tests.ShedTests)
    result = reporter.TestResult()
    suite.run(result)
    assert result.wasSuccessful(), (result.failures, result.errors)
    assert result.testsRun > 15
    assert not result.skipped
    assert set(tests.ShedTests.cannot) < ABILITIES


def test_the_guide_is_complete() -> None:
    """It counts the methods right, and its table has every error of the contract."""
    methods = [
        name
        for name, member in vars(CloudAdapter).items()
        if callable(member) and not name.startswith("_")
    ]
    lifecycle = {"start", "stop"}
    assert f"calls the cloud: {len(set(methods) - lifecycle)} methods" in GUIDE
    for name in errors.__all__:
        assert re.search(rf"^\| `{name}[`(]", GUIDE, re.M), name
