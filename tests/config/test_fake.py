"""The section of a provider whose cloud is simulated."""

from __future__ import annotations

import pytest

from nodepool_tx.config import FrozenMapping
from nodepool_tx.config.fake import FakeFlavor, FakeProvider, FakeSimulation
from tests.config.parsing import errors_of, parse


def written(simulation: str) -> str:
    return f"providers: [{{name: fake-1, simulation: {simulation}}}]"


def simulation_of(text: str) -> FakeSimulation:
    (provider,) = parse(text).providers.values()
    assert type(provider) is FakeProvider
    return provider.simulation


def test_defaults() -> None:
    """A provider whose name begins with fake needs nothing else."""
    provider = parse("providers: [{name: fake-1}]").providers["fake-1"]
    assert provider == FakeProvider(name="fake-1", driver="fake")
    simulation = FakeSimulation()
    assert (simulation.max_cores, simulation.max_instances, simulation.max_ram) == (
        100,
        20,
        1_000_000,
    )
    assert [flavor.name for flavor in simulation.flavors] == ["Fake Flavor", "Unreal Flavor"]


def test_everything() -> None:
    """Each key arrives where it belongs, and so do those of OpenStack."""
    text = """
        labels: [{name: a}]
        providers:
          - name: c
            driver: fake
            cloud: fake
            cloud-images: [{name: Fake Precise}]
            pools: [{name: p, labels: [{name: a, cloud-image: Fake Precise, min-ram: 1}]}]
            simulation:
              api-delay: 0.5
              boot-delay: 2
              delete-delay: 3
              api-failure-rate: 0.1
              boot-failure-rate: 1
              max-cores: 1
              max-instances: 2
              max-ram: 3
              max-volumes: 4
              max-volume-gb: 5
              zones: [x, y, x]
              capacity: {x: 6}
              flavors: [{name: f, vcpus: 7, ram: 8, disk: 9}, {name: g, vcpus: 1, ram: 1}]
              images: [one, two]
              seed: 42
        """
    assert simulation_of(text) == FakeSimulation(
        api_delay=0.5,
        boot_delay=2.0,
        delete_delay=3.0,
        api_failure_rate=0.1,
        boot_failure_rate=1.0,
        max_cores=1,
        max_instances=2,
        max_ram=3,
        max_volumes=4,
        max_volume_gb=5,
        capacity=FrozenMapping({"x": 6}),
        zones=("x", "y"),
        flavors=(FakeFlavor("f", 7, 8, 9), FakeFlavor("g", 1, 1, 0)),
        images=("one", "two"),
        seed=42,
    )
    provider = parse(text).providers["c"]
    assert provider != parse(text.replace("seed: 42", "seed: 43")).providers["c"]
    assert provider.pools[0].labels == {"a"}


PATH = "providers[0].simulation"


@pytest.mark.parametrize(
    ("simulation", "path", "words"),
    [
        ("fast", PATH, "a mapping that describes a simulation"),
        ("{boot-dealy: 1}", f"{PATH}.boot-dealy", "did you mean boot-delay?"),
        ("{max-servers: 1}", f"{PATH}.max-servers", "did you mean max-instances?"),
        ("{api-delay: -1}", f"{PATH}.api-delay", "a number of seconds of 0 to 86400"),
        ("{api-delay: '1'}", f"{PATH}.api-delay", "remove the quotes"),
        ("{boot-failure-rate: 2}", f"{PATH}.boot-failure-rate", "a share of 0 to 1"),
        ("{max-instances: -1}", f"{PATH}.max-instances", "0 or more"),
        ("{capacity: {az3: 1}}", f"{PATH}.capacity.az3", "there is no zone az3"),
        ("{capacity: [az1]}", f"{PATH}.capacity", "zones to numbers of servers"),
        ("{capacity: {az1: x}}", f"{PATH}.capacity.az1", "a whole number"),
        ("{flavors: [{name: f, ram: 1}]}", f"{PATH}.flavors[0]", "'vcpus'"),
        ("{flavors: [{name: f, vcpus: 0, ram: 1}]}", f"{PATH}.flavors[0].vcpus", "1 or more"),
        ("{seed: x}", f"{PATH}.seed", "a whole number"),
    ],
)
def test_errors(simulation: str, path: str, words: str) -> None:
    """The keys of our own are read as strictly as any."""
    (error,) = errors_of(written(simulation)).errors
    assert error.path == path
    assert words in str(error)


def test_a_real_cloud_is_not_simulated() -> None:
    """The key belongs to this driver alone."""
    (error,) = errors_of("providers: [{name: c, cloud: x, simulation: {}}]").errors
    assert error.path == PATH
