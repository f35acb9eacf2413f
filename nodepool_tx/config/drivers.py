"""Who reads the section of a provider.

Each driver brings a :class:`DriverSection`.  Some are built in; packages add
theirs through the entry point group ``nodepool_tx.drivers``: an object, or a
class without arguments, that satisfies the protocol.  The other drivers of
Nodepool 11 are known by name, so that their sections are accepted and reported
as not available instead of being refused as a typing mistake.
"""

from __future__ import annotations

from collections.abc import Collection, Hashable, Iterable, Mapping
from importlib import metadata
from typing import Any, Protocol

import attrs

from nodepool_tx.config.document import printable
from nodepool_tx.config.frozen import Frozen, FrozenMapping
from nodepool_tx.config.schema import DiskImage, ProviderConfig
from nodepool_tx.config.section import Cursor, Section, suggest
from nodepool_tx.config.tree import ScalarNode

__all__ = [
    "ENTRY_POINT_GROUP",
    "NODEPOOL_DRIVERS",
    "POOL_KEYS",
    "PROVIDER_KEYS",
    "DriverRegistry",
    "DriverSection",
    "ReadContext",
    "common_pool_fields",
    "common_provider_fields",
    "driver_of",
]

ENTRY_POINT_GROUP = "nodepool_tx.drivers"

#: Drivers of Nodepool 11 and of its test suite.
NODEPOOL_DRIVERS = frozenset(
    {
        "aws",
        "azure",
        "example",
        "fake",
        "gce",
        "ibmvpc",
        "kubernetes",
        "metastatic",
        "openshift",
        "openshiftpods",
        "openstack",
        "static",
        "test",
    }
)

#: Keys that a provider and a pool have whatever the driver.
PROVIDER_KEYS = frozenset({"name", "driver", "priority", "max-concurrency", "pools"})
POOL_KEYS = frozenset({"name", "priority", "max-servers", "node-attributes"})


@attrs.frozen
class ReadContext:
    """What the rest of the file says, for the reader of a section.

    :ivar labels: names defined at the top; None when they could not be read,
        and nothing can be said about a label.
    :ivar diskimages: likewise, of all disk images, abstract ones included.
    :ivar images: the disk images that are not abstract, with what they inherit.
    """

    labels: Collection[str] | None = None
    diskimages: Collection[str] | None = None
    images: Mapping[str, DiskImage] = attrs.field(factory=dict)
    _uses: dict[Hashable, Cursor] = attrs.field(factory=dict, init=False)

    def first_use(self, what: Hashable, place: Cursor) -> Cursor:
        """Where ``what`` was first met in this configuration; ``place`` if here."""
        return self._uses.setdefault(what, place)

    def check_label(self, place: Cursor, name: str, *, fatal: bool = True) -> None:
        """Note an error (else a warning) unless ``name`` is defined at the top."""
        self._check(place, "label", name, self.labels, fatal)

    def check_diskimage(self, place: Cursor, name: str) -> None:
        """Note an error unless ``name`` is defined at the top."""
        self._check(place, "diskimage", name, self.diskimages, True)

    def find_diskimage(self, place: Cursor, name: str) -> DiskImage | None:
        """The disk image called ``name``; None, and noted, unless there is one to be built."""
        image = self.images.get(name)
        if image is None and self.diskimages is not None and name in self.diskimages:
            place.error(
                f"the diskimage {printable(name)} is abstract", "use one that inherits from it"
            )
        elif image is None:
            self.check_diskimage(place, name)
        return image

    def _check(
        self, place: Cursor, kind: str, name: str, defined: Collection[str] | None, fatal: bool
    ) -> None:
        if defined is None or name in defined:
            return
        hint = None if place.document.problems.full else suggest(name, defined)
        say = place.error if fatal else place.warning
        say(
            f"the {kind} {printable(name)} is not defined",
            hint or f"add it to '{kind}s' at the top",
        )


class DriverSection(Protocol):
    """Reads a provider's section for one driver."""

    @property
    def name(self) -> str:
        """What ``driver:`` has to be."""

    def read(self, place: Cursor, context: ReadContext) -> ProviderConfig | None:
        """Turn the section at ``place`` into its configuration.

        Problems are noted at their places and nothing is raised; None when
        there is nothing to show for it.  The result must compare by value.
        It is pure: no file, no network, and it may run in a thread.
        """


def common_provider_fields(section: Section) -> dict[str, Any]:
    """``priority`` and ``max_concurrency`` of a provider's section."""
    return {
        "priority": section.integer("priority", None),
        "max_concurrency": section.integer(
            "max-concurrency", -1, minimum=-1, hint="-1 stands for no limit"
        ),
    }


def common_pool_fields(section: Section) -> dict[str, Any]:
    """What :class:`~nodepool_tx.config.schema.PoolConfig` says about itself."""
    fields: dict[str, Any] = {"priority": section.integer("priority", None)}
    limit = section.integer(
        "max-servers", None, minimum=0, hint="0 closes the pool, without the key there is no limit"
    )
    if limit is not None:
        fields["max_servers"] = limit
    attributes: FrozenMapping[str, Frozen] | None = section.mapping("node-attributes")
    fields["node_attributes"] = attributes
    return fields


class DriverRegistry:
    """Finds the reader for a driver's name.

    :param sections: the readers there are; they win over installed ones.
    :param installed: entry points by name, loaded only when asked for.
    """

    def __init__(
        self,
        sections: Iterable[DriverSection],
        installed: Mapping[str, metadata.EntryPoint] | None = None,
    ) -> None:
        self._sections = {section.name: section for section in sections}
        self._installed = dict(installed or {})

    @classmethod
    def with_installed(cls, sections: Iterable[DriverSection]) -> DriverRegistry:
        """Also offer what installed packages register."""
        found = metadata.entry_points(group=ENTRY_POINT_GROUP)
        return cls(sections, {point.name: point for point in found})

    @property
    def available(self) -> frozenset[str]:
        """Names of the drivers whose sections are read in full."""
        return frozenset(self._sections) | frozenset(self._installed)

    @property
    def known(self) -> frozenset[str]:
        """Names that are no mistake, available or not."""
        return self.available | NODEPOOL_DRIVERS

    def find(self, name: str) -> DriverSection | None:
        """The reader of an available driver, else None.

        :raises Exception: whatever an installed package raises when imported.
        """
        section = self._sections.get(name)
        if section is None and name in self._installed:
            loaded = self._installed[name].load()
            section = loaded() if isinstance(loaded, type) else loaded
            self._sections[name] = section
        return section


def driver_of(section: Section) -> str | None:
    """The driver a provider's section asks for; None, and noted, if no name.

    Without ``driver`` it is openstack, or fake when the provider's name begins
    with "fake".  One that is given counts, whatever the provider is called.
    """
    place = section.at("driver")
    if place is not None:
        return place.text("the name of a driver")
    named = section.at("name")
    name = named.node.value if named and isinstance(named.node, ScalarNode) else None
    return "fake" if isinstance(name, str) and name.startswith("fake") else "openstack"
