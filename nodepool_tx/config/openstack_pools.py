"""The pools of an OpenStack provider, and their labels."""

from __future__ import annotations

from nodepool_tx.config.cloud_section import (
    LIMIT_KEYS,
    RepeatedNames,
    find_named,
    integer_from,
    limit_fields,
    optional_text,
    read_label_name,
    text_list,
)
from nodepool_tx.config.document import printable
from nodepool_tx.config.drivers import POOL_KEYS, ReadContext, common_pool_fields
from nodepool_tx.config.frozen import FrozenMapping
from nodepool_tx.config.names import UniqueNames
from nodepool_tx.config.openstack_images import diskimage
from nodepool_tx.config.openstack_properties import read_dynamic_properties, read_properties
from nodepool_tx.config.openstack_schema import OpenStackImage, OpenStackLabel, OpenStackPool
from nodepool_tx.config.section import Cursor, Section

__all__ = ["PoolReader"]

_POOL_KEYS = (
    POOL_KEYS
    | LIMIT_KEYS
    | {
        "networks",
        "auto-floating-ip",
        "host-key-checking",
        "ignore-provider-quota",
        "labels",
        "availability-zones",
        "security-groups",
    }
)
_LABEL_KEYS = frozenset(
    {
        "name",
        "diskimage",
        "cloud-image",
        "min-ram",
        "flavor-name",
        "key-name",
        "console-log",
        "boot-from-volume",
        "volume-size",
        "instance-properties",
        "dynamic-instance-properties",
        "userdata",
        "networks",
        "host-key-checking",
    }
)
_POOL_MISNOMERS = {
    "nodes": "only providers with driver: static list nodes",
    "azs": "did you mean availability-zones?",
    "max-instances": "did you mean max-servers?",
    "key-name": "it belongs to a label",
    "cloud": "it belongs to the provider",
    "region-name": "it belongs to the provider",
    "use-internal-ip": "OpenStack pools have no such choice",
}
_LABEL_MISNOMERS = {
    "image": "did you mean diskimage or cloud-image?",
    "flavor": "did you mean flavor-name?",
    "ram": "did you mean min-ram?",
    "min-ready": "it belongs to the label at the top",
    "max-ready-age": "it belongs to the label at the top",
    "availability-zones": "it belongs to the pool",
    "security-groups": "it belongs to the pool",
    "properties": "did you mean instance-properties?",
}


class PoolReader:
    """Reads the pools of one provider.

    :param priority: the provider's, if it has one.
    """

    def __init__(
        self,
        provider_name: str,
        priority: int | None,
        context: ReadContext,
        diskimages: FrozenMapping[str, OpenStackImage],
        cloud_images: FrozenMapping[str, OpenStackImage],
    ) -> None:
        self._provider_name = provider_name
        self._priority = priority
        self._context = context
        self._diskimages = diskimages
        self._cloud_images = cloud_images

    def read(self, places: list[Cursor]) -> tuple[OpenStackPool, ...]:
        """All pools that have a name."""
        names = UniqueNames("pool")
        sections = (
            place.section("a pool of servers", _POOL_KEYS, _POOL_MISNOMERS) for place in places
        )
        pools = (self._pool(section, names) for section in sections if section is not None)
        return tuple(pool for pool in pools if pool.name)

    def _pool(self, section: Section, names: UniqueNames) -> OpenStackPool:
        networks = text_list(section, "networks")
        checking = section.boolean("host-key-checking", True)
        labels = self._labels(section, networks, checking)
        return OpenStackPool(
            name=names.read(section) or "",
            provider_name=self._provider_name,
            provider_priority=self._priority,
            **common_pool_fields(section),
            **limit_fields(section),
            ignore_provider_quota=section.boolean("ignore-provider-quota", False),
            zones=text_list(section, "availability-zones"),
            networks=networks,
            security_groups=text_list(section, "security-groups"),
            auto_floating_ip=section.boolean("auto-floating-ip", True),
            host_key_checking=checking,
            labels=frozenset(labels),
            cloud_labels=FrozenMapping(labels),
        )

    def _labels(
        self, pool: Section, networks: tuple[str, ...], checking: bool
    ) -> dict[str, OpenStackLabel]:
        names = RepeatedNames("label")
        labels: dict[str, OpenStackLabel] = {}
        for place in pool.items("labels"):
            section = place.section("a label of a pool", _LABEL_KEYS, _LABEL_MISNOMERS)
            if section is None:
                continue
            name = read_label_name(section, self._context, names)
            label = self._label(name or "", section, networks, checking)
            if name is not None:
                labels[name] = label
        return labels

    def _label(
        self, name: str, section: Section, networks: tuple[str, ...], checking: bool
    ) -> OpenStackLabel:
        if not section.has("flavor-name") and not section.has("min-ram"):
            section.cursor.error(f"{section.what} needs the key 'flavor-name' or 'min-ram'")
        return OpenStackLabel(
            name=name,
            image=self._image(section),
            host_key_checking=section.boolean("host-key-checking", checking),
            console_log=section.boolean("console-log", False),
            min_ram=integer_from(section, "min-ram", 0, 0),
            flavor_name=optional_text(section, "flavor-name"),
            key_name=optional_text(section, "key-name"),
            boot_from_volume=section.boolean("boot-from-volume", False),
            volume_size=integer_from(section, "volume-size", 50, 1),
            instance_properties=read_properties(section, "instance-properties"),
            dynamic_instance_properties=read_dynamic_properties(
                section, "dynamic-instance-properties"
            ),
            userdata=optional_text(section, "userdata"),
            networks=text_list(section, "networks") if section.has("networks") else networks,
        )

    def _image(self, section: Section) -> OpenStackImage | None:
        ours, theirs = section.at("diskimage"), section.at("cloud-image")
        if ours is not None and theirs is not None:
            theirs.error("excludes diskimage", "keep one of the two")
        if ours is None and theirs is None:
            section.cursor.error(f"{section.what} needs the key 'diskimage' or 'cloud-image'")
        image = None if ours is None else self._diskimage(ours)
        if theirs is not None:
            name = theirs.text()
            if name is not None:
                found: OpenStackImage | None = find_named(
                    theirs, "cloud-image", name, self._cloud_images
                )
                image = image or found
        return image

    def _diskimage(self, place: Cursor) -> OpenStackImage | None:
        name = place.text()
        if name is None:
            return None
        top = self._context.find_diskimage(place, name)
        if name not in self._diskimages and top is not None:
            place.warning(
                f"the diskimage {printable(name)} is not uploaded to this provider",
                "add it to the provider's 'diskimages'",
            )
        if top is None:
            return None
        return self._diskimages.get(name) or diskimage(top)
