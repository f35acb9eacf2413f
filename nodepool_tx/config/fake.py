"""The section of a provider whose cloud is simulated in this process."""

from __future__ import annotations

from typing import Any

import attrs

from nodepool_tx.config.cloud_section import number, text_list
from nodepool_tx.config.document import printable
from nodepool_tx.config.drivers import ReadContext
from nodepool_tx.config.frozen import FrozenMapping
from nodepool_tx.config.names import UniqueNames
from nodepool_tx.config.openstack import OPENSTACK_KEYS, PROVIDER_MISNOMERS, openstack_fields
from nodepool_tx.config.openstack_schema import OpenStackProvider
from nodepool_tx.config.section import Cursor, Section, suggest
from nodepool_tx.config.tree import MappingNode

__all__ = ["FakeFlavor", "FakeProvider", "FakeSection", "FakeSimulation"]

_DELAYS = frozenset({"api-delay", "boot-delay", "delete-delay"})
_RATES = frozenset({"api-failure-rate", "boot-failure-rate"})
_LIMITS = frozenset({"max-cores", "max-instances", "max-ram", "max-volumes", "max-volume-gb"})
_KEYS = _DELAYS | _RATES | _LIMITS | {"capacity", "zones", "flavors", "images", "seed"}
_MISNOMERS = {
    "max-servers": "did you mean max-instances?",
    "availability-zones": "did you mean zones?",
    "launch-delay": "did you mean boot-delay?",
    "failure-rate": "did you mean api-failure-rate or boot-failure-rate?",
}
_FLAVOR_KEYS = frozenset({"name", "vcpus", "ram", "disk"})
_FLAVOR_MISNOMERS = {"cores": "did you mean vcpus?", "cpus": "did you mean vcpus?"}


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


class FakeSection:
    """Reads providers whose driver is ``fake``: those of OpenStack, and how to
    simulate the cloud.

    There is nothing to log in to, so ``cloud`` may be left out.
    """

    name = "fake"

    def read(self, place: Cursor, context: ReadContext) -> FakeProvider | None:
        section = place.section(
            "a simulated provider", OPENSTACK_KEYS | {"simulation"}, PROVIDER_MISNOMERS
        )
        if section is None:
            return None
        fields = openstack_fields(section, context)
        simulation = _simulation(section)
        if not fields["name"]:
            return None
        return FakeProvider(driver=self.name, simulation=simulation, **fields)


def _simulation(provider: Section) -> FakeSimulation:
    place = provider.at("simulation")
    section = None if place is None else place.section("a simulation", _KEYS, _MISNOMERS)
    if section is None:
        return FakeSimulation()
    fields: dict[str, Any] = {}
    for key in sorted(_DELAYS | _RATES):
        delay = key in _DELAYS
        wanted, most = ("a number of seconds", 86400.0) if delay else ("a share", 1.0)
        at_key = section.at(key)
        value = None if at_key is None else number(at_key, wanted, maximum=most)
        if value is not None:
            fields[_field(key)] = value
    for key in sorted(_LIMITS):
        limit = section.integer(key, None, minimum=0)
        if limit is not None:
            fields[_field(key)] = limit
    if section.has("zones"):
        fields["zones"] = _distinct(section, "zones")
    if section.has("images"):
        fields["images"] = _distinct(section, "images")
    if section.has("flavors"):
        fields["flavors"] = _flavors(section)
    if section.has("capacity"):
        fields["capacity"] = _capacity(section, fields.get("zones", FakeSimulation().zones))
    return FakeSimulation(seed=section.integer("seed", None), **fields)


def _field(key: str) -> str:
    return key.replace("-", "_")


def _distinct(section: Section, key: str) -> tuple[str, ...]:
    """Names in the order of the file; one that is repeated counts once."""
    return tuple(dict.fromkeys(text_list(section, key)))


def _flavors(simulation: Section) -> tuple[FakeFlavor, ...]:
    names = UniqueNames("flavor")
    flavors: list[FakeFlavor] = []
    for place in simulation.items("flavors"):
        section = place.section("a flavor", _FLAVOR_KEYS, _FLAVOR_MISNOMERS)
        if section is None:
            continue
        for key in ("vcpus", "ram"):
            section.required(key)
        flavors.append(
            FakeFlavor(
                name=names.read(section) or "",
                vcpus=section.integer("vcpus", 1, minimum=1),
                ram=section.integer("ram", 1, minimum=1),
                disk=section.integer("disk", 0, minimum=0),
            )
        )
    return tuple(flavors)


def _capacity(simulation: Section, zones: tuple[str, ...]) -> FrozenMapping[str, int]:
    place = simulation.at("capacity")
    if place is None or not isinstance(place.node, MappingNode):
        if place is not None:
            place.wrong_type("a mapping of zones to numbers of servers")
        return FrozenMapping()
    section = Section(place, place.node, "the capacity")
    found: dict[str, int] = {}
    for filed, (key, _) in place.node.entries.items():
        if filed not in zones:
            place.child(key.text, key).error(
                f"there is no zone {printable(key.text)}",
                suggest(key.text, zones) or "add it to 'zones'",
            )
            continue
        fits = section.integer(filed, None, minimum=0)
        if fits is not None:
            found[filed] = fits
    return FrozenMapping(found)
