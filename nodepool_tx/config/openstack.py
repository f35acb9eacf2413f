"""The section of an OpenStack provider."""

from __future__ import annotations

import math
from typing import Any

from nodepool_tx.config.cloud_section import (
    LAUNCH_KEYS,
    integer_from,
    launch_fields,
    number,
    optional_text,
)
from nodepool_tx.config.drivers import PROVIDER_KEYS, ReadContext, common_provider_fields
from nodepool_tx.config.openstack_images import read_cloud_images, read_diskimages
from nodepool_tx.config.openstack_pools import PoolReader
from nodepool_tx.config.openstack_schema import (
    IMAGE_NAME_FORMAT,
    OpenStackImage,
    OpenStackLabel,
    OpenStackPool,
    OpenStackProvider,
)
from nodepool_tx.config.section import Cursor, Section
from nodepool_tx.config.tree import ScalarNode

__all__ = [
    "OPENSTACK_KEYS",
    "OpenStackImage",
    "OpenStackLabel",
    "OpenStackPool",
    "OpenStackProvider",
    "OpenStackSection",
    "openstack_fields",
]

#: Keys of a provider with the configuration of OpenStack.
OPENSTACK_KEYS = (
    PROVIDER_KEYS
    | LAUNCH_KEYS
    | {
        "cloud",
        "region-name",
        "image-upload-timeout",
        "nodepool-id",
        "rate",
        "image-name-format",
        "post-upload-hook",
        "clean-floating-ips",
        "port-cleanup-interval",
        "diskimages",
        "cloud-images",
    }
)

_POOLS_HAVE_IT = "it belongs to a pool"

#: What to say about keys that are looked for in the wrong place.
PROVIDER_MISNOMERS = {
    "region": "did you mean region-name?",
    "images": "did you mean cloud-images or diskimages?",
    "labels": _POOLS_HAVE_IT,
    "networks": _POOLS_HAVE_IT,
    "security-groups": _POOLS_HAVE_IT,
    "availability-zones": _POOLS_HAVE_IT,
    "auto-floating-ip": _POOLS_HAVE_IT,
    "host-key-checking": _POOLS_HAVE_IT,
    "node-attributes": _POOLS_HAVE_IT,
    "max-servers": _POOLS_HAVE_IT,
    "max-cores": _POOLS_HAVE_IT,
    "max-ram": _POOLS_HAVE_IT,
}


class OpenStackSection:
    """Reads providers whose driver is ``openstack``."""

    name = "openstack"

    def read(self, place: Cursor, context: ReadContext) -> OpenStackProvider | None:
        section = place.section("an OpenStack provider", OPENSTACK_KEYS, PROVIDER_MISNOMERS)
        if section is None:
            return None
        section.required("cloud")
        fields = openstack_fields(section, context)
        return OpenStackProvider(driver=self.name, **fields) if fields["name"] else None


def openstack_fields(section: Section, context: ReadContext) -> dict[str, Any]:
    """All fields of :class:`OpenStackProvider` but ``driver``.

    ``name`` is empty, and that noted, when there is none.
    """
    named = section.required("name")
    name = (named.text() if named is not None else None) or ""
    common = common_provider_fields(section)
    diskimages = read_diskimages(section.items("diskimages"), context)
    cloud_images = read_cloud_images(section.items("cloud-images"))
    pools = PoolReader(name, common["priority"], context, diskimages, cloud_images)
    if section.has("nodepool-id"):
        optional_text(section, "nodepool-id")
        here = section.at("nodepool-id") or section.cursor
        here.warning("has had no effect for long", "remove it")
    return {
        "name": name,
        **common,
        "rate": _calls_per_second(section),
        **launch_fields(section, boot_timeout=60),
        "cloud": optional_text(section, "cloud"),
        "region_name": optional_text(section, "region-name"),
        "image_upload_timeout": integer_from(section, "image-upload-timeout", 3600, 1),
        "image_name_format": _image_name_format(section),
        "post_upload_hook": optional_text(section, "post-upload-hook"),
        "clean_floating_ips": section.boolean("clean-floating-ips", False),
        "port_cleanup_interval": integer_from(
            section, "port-cleanup-interval", 600, 0, "0 turns it off"
        ),
        "diskimages": diskimages,
        "cloud_images": cloud_images,
        "pools": pools.read(section.items("pools")),
    }


def _calls_per_second(section: Section) -> float:
    """What ``rate`` comes to, which is the seconds from one call to the next."""
    place = section.at("rate")
    if place is None:
        return 1.0
    value = place.node.value if isinstance(place.node, ScalarNode) else None
    seconds: float | None
    if isinstance(value, str) and _as_float(value) is not None:
        place.warning("is read as a number", "remove the quotes")
        seconds = _as_float(value)
    else:
        seconds = number(place, "a number of seconds", minimum=-math.inf)
    if seconds is None:
        return 1.0
    if seconds < 0:
        place.warning("is taken for 0", "0 is no limit")
    if seconds <= 0:
        return 0.0
    rate = 1.0 / seconds
    return rate if math.isfinite(rate) else 0.0


def _as_float(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _image_name_format(section: Section) -> str:
    text = optional_text(section, "image-name-format") or IMAGE_NAME_FORMAT
    try:
        text.format(image_name="image", timestamp="0")
    except (LookupError, ValueError, AttributeError, TypeError):
        place = section.at("image-name-format") or section.cursor
        place.warning(
            "cannot be filled in, so no image can be uploaded",
            "it may hold {image_name} and {timestamp}",
        )
    return text
