"""The images of an OpenStack provider: those to be uploaded and those it has."""

from __future__ import annotations

from nodepool_tx.config.cloud_section import (
    IMAGE_KEYS,
    RepeatedNames,
    connection_fields,
    optional_text,
)
from nodepool_tx.config.drivers import ReadContext
from nodepool_tx.config.frozen import FrozenMapping
from nodepool_tx.config.openstack_schema import OpenStackImage
from nodepool_tx.config.schema import DiskImage
from nodepool_tx.config.section import Cursor, Section

__all__ = ["diskimage", "read_cloud_images", "read_diskimages"]

_DISKIMAGE_KEYS = IMAGE_KEYS | {"pause", "meta"}
_CLOUD_IMAGE_KEYS = IMAGE_KEYS | {
    "image-id",
    "image-name",
    "username",
    "python-path",
    "shell-type",
}
_AT_THE_TOP = "it belongs to the diskimage at the top"
_DISKIMAGE_MISNOMERS = {
    "metadata": "did you mean meta?",
    "username": _AT_THE_TOP,
    "python-path": _AT_THE_TOP,
    "shell-type": _AT_THE_TOP,
    "formats": _AT_THE_TOP,
    "image-id": "it belongs to a cloud-image",
    "image-name": "it belongs to a cloud-image",
    "min-ram": "it belongs to a label of a pool",
}
_CLOUD_IMAGE_MISNOMERS = {
    "id": "did you mean image-id?",
    "image": "did you mean image-id or image-name?",
    "meta": "it belongs to a diskimage",
    "pause": "it belongs to a diskimage",
}


def diskimage(image: DiskImage, section: Section | None = None) -> OpenStackImage:
    """An image as it is at the top, with what the provider's section adds."""
    if section is None:
        connection = {}
    else:
        connection = connection_fields(section)
    return OpenStackImage(
        name=image.name,
        diskimage=True,
        username=image.username,
        python_path=image.python_path,
        shell_type=image.shell_type,
        config_drive=None if section is None else _config_drive(section),
        meta=(section.mapping("meta") if section is not None else None) or FrozenMapping(),
        pause=section is not None and section.boolean("pause", False),
        **connection,
    )


def read_diskimages(
    places: list[Cursor], context: ReadContext
) -> FrozenMapping[str, OpenStackImage]:
    """What builders are to upload, by name."""
    names = RepeatedNames("diskimage")
    images: dict[str, OpenStackImage] = {}
    for place in places:
        section = place.section("a disk image of a provider", _DISKIMAGE_KEYS, _DISKIMAGE_MISNOMERS)
        if section is None:
            continue
        name = names.read(section)
        named = section.at("name")
        top = None
        if name is not None and named is not None:
            top = context.find_diskimage(named, name)
        image = diskimage(top or DiskImage(name or ""), section)
        if name is not None:
            images[name] = image
    return FrozenMapping(images)


def read_cloud_images(places: list[Cursor]) -> FrozenMapping[str, OpenStackImage]:
    """What the cloud has already, by the name that labels use."""
    names = RepeatedNames("cloud-image")
    images: dict[str, OpenStackImage] = {}
    for place in places:
        section = place.section("a cloud image", _CLOUD_IMAGE_KEYS, _CLOUD_IMAGE_MISNOMERS)
        if section is None:
            continue
        name = names.read(section)
        if section.has("image-id") and section.has("image-name"):
            here = section.at("image-name") or place
            here.error("excludes image-id", "keep one of the two")
        image = OpenStackImage(
            name=name or "",
            username=optional_text(section, "username"),
            python_path=optional_text(section, "python-path", "auto"),
            shell_type=optional_text(section, "shell-type"),
            config_drive=_config_drive(section),
            image_id=optional_text(section, "image-id"),
            image_name=optional_text(section, "image-name"),
            **connection_fields(section),
        )
        if name is not None:
            images[name] = image
    return FrozenMapping(images)


def _config_drive(section: Section) -> bool | None:
    return section.boolean("config-drive", False) if section.has("config-drive") else None
