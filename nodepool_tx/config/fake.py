"""The section of a provider whose cloud is simulated in this process."""

from __future__ import annotations

import attrs

from nodepool_tx.config.frozen import FrozenMapping
from nodepool_tx.config.openstack_schema import OpenStackProvider

__all__ = ["FakeFlavor", "FakeProvider", "FakeSimulation"]


@attrs.frozen
class FakeFlavor:
    """A size of server.

    :ivar ram: MiB.
    :ivar disk: GiB.
    """

    name: str
    vcpus: int = 4
    ram: int = 8192
    disk: int = 0


@attrs.frozen
class FakeSimulation:
    """How the simulated cloud behaves; by default as Nodepool 11's did.

    :ivar api_delay: seconds each call takes.
    :ivar boot_delay: seconds from the creation of a server to its being active.
    :ivar delete_delay: seconds a server that is deleted is still there.
    :ivar api_failure_rate: the share of calls that fail, from 0 to 1.
    :ivar boot_failure_rate: the share of servers that fail, from 0 to 1.
    :ivar max_ram: MiB.
    :ivar max_volume_gb: GiB.
    :ivar capacity: how many servers fit into a zone; any number without an entry.
    :ivar images: names of the images there are from the start.
    :ivar seed: of what happens by chance; None for another course each time.
    """

    api_delay: float = 0.0
    boot_delay: float = 0.1
    delete_delay: float = 0.0
    api_failure_rate: float = 0.0
    boot_failure_rate: float = 0.0
    max_cores: int = 100
    max_instances: int = 20
    max_ram: int = 1_000_000
    max_volumes: int = 100
    max_volume_gb: int = 1_000_000
    capacity: FrozenMapping[str, int] = attrs.field(factory=FrozenMapping)
    zones: tuple[str, ...] = ("az1", "az2")
    flavors: tuple[FakeFlavor, ...] = (FakeFlavor("Fake Flavor"), FakeFlavor("Unreal Flavor"))
    images: tuple[str, ...] = ("Fake Precise",)
    seed: int | None = None


@attrs.frozen
class FakeProvider(OpenStackProvider):
    """An OpenStack cloud that is simulated in this process."""

    simulation: FakeSimulation = attrs.field(factory=FakeSimulation)
