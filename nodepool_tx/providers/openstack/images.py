"""Images: finding them, putting them into the cloud, taking them out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote
from uuid import UUID

from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger

from nodepool_tx.config.frozen import thaw
from nodepool_tx.providers.cloud.errors import CloudError, Gone
from nodepool_tx.providers.cloud.interface import (
    BUILD_ID,
    IMAGE_NAME,
    NODE_ID,
    POOL_NAME,
    PROVIDER_NAME,
    UPLOAD_ID,
    ImageInCloud,
    ImageUploadOrder,
    Resource,
)
from nodepool_tx.providers.openstack.calls import Calls
from nodepool_tx.providers.openstack.paging import everything

__all__ = ["built_images", "delete_image", "find_image", "leftover_images", "upload_image"]

#: Seconds between looks at an image that is being taken in.
_LOOK = 2.0

#: Properties that Glance takes as they are; all others must be text.
_TYPED = {"min_disk", "min_ram", "protected", "tags"}

#: Under these openstacksdk keeps what it knows of the content of an image.
_MD5 = "owner_specified.openstack.md5"
_SHA256 = "owner_specified.openstack.sha256"
_OBJECT = "owner_specified.openstack.object"

#: By these we know what is ours.
_OURS = (PROVIDER_NAME, POOL_NAME, NODE_ID, IMAGE_NAME, BUILD_ID, UPLOAD_ID)

_log = Logger()


async def find_image(calls: Calls, name: str) -> str | None:
    """The id of the image with that id, or the newest one of that name.

    None unless there is one that can be used.
    """
    # Only where a name looks like an id is it worth asking for that first.
    looks = (_by_id, _by_name) if _is_uuid(name) else (_by_name, _by_id)
    for look in looks:
        found = await look(calls, name)
        if found is not None:
            return found
    return None


async def _by_id(calls: Calls, image_id: str) -> str | None:
    try:
        image = await calls.ask("look at an image", "image", "GET", _path(image_id))
    except Gone:
        return None
    return str(image["id"]) if _usable(image) else None


async def _by_name(calls: Calls, name: str) -> str | None:
    listed = await everything(
        calls, "find an image", "image", "/images", "images", query={"name": name}
    )
    usable = [image for image in listed if image.get("name") == name and _usable(image)]
    usable.sort(key=lambda image: str(image.get("created_at") or ""))
    return str(usable[-1]["id"]) if usable else None


def _usable(image: Any) -> bool:
    return isinstance(image, Mapping) and image.get("status") == "active"


def _is_uuid(name: str) -> bool:
    try:
        UUID(name)
    except ValueError:
        return False
    return True


async def upload_image(calls: Calls, clock: IReactorTime, order: ImageUploadOrder) -> str:
    """Put an image into the cloud and wait until it can be used.

    What was begun is removed again when it does not succeed.

    :returns: its id.
    """
    doing = f"upload the image {order.name}"
    body = await calls.ask(doing, "image", "POST", "/images", json=_described(order))
    image_id = str(body["id"])
    try:
        await calls.ask(
            doing,
            "image",
            "PUT",
            f"{_path(image_id)}/file",
            file=order.path,
            headers={"Content-Type": "application/octet-stream"},
            # Glance stores what it was sent before it answers.
            timeout=600.0,
        )
        while not await _taken_in(calls, doing, image_id):
            await deferLater(clock, _LOOK)
    except Exception:
        # Also when it is cancelled: by nobody else would it be removed soon.
        try:
            await delete_image(calls, image_id)
        except CloudError as e:
            _log.warn(
                "Could not remove the unfinished image {image}: {error}",
                image=image_id,
                error=str(e),
            )
        raise
    return image_id


async def _taken_in(calls: Calls, doing: str, image_id: str) -> bool:
    image = await calls.ask(doing, "image", "GET", _path(image_id))
    status = image.get("status")
    if status in ("killed", "deleted", "pending_delete", "deactivated"):
        raise CloudError(f"could not {doing}: the image is {status}")
    return bool(status == "active")


def _described(order: ImageUploadOrder) -> dict[str, Any]:
    """What Glance is told before it gets the content."""
    described: dict[str, Any] = {
        "container_format": "bare",
        "visibility": "private",
        _OBJECT: order.name,
    }
    for key, value in order.meta.items():
        plain = thaw(value)
        described[key] = plain if key in _TYPED or isinstance(plain, str) else str(plain)
    described.update(order.metadata)
    if order.md5:
        described[_MD5] = order.md5
    if order.sha256:
        described[_SHA256] = order.sha256
    described["name"] = order.name
    described["disk_format"] = order.format
    return described


async def delete_image(calls: Calls, image_id: str) -> None:
    """:raises Gone: there is no such image."""
    await calls.ask("delete an image", "image", "DELETE", _path(image_id))


async def leftover_images(calls: Calls, provider_name: str) -> list[Resource]:
    """The images that carry this provider's name."""
    listed = await everything(
        calls,
        "list our images",
        "image",
        "/images",
        "images",
        query={PROVIDER_NAME: provider_name},
    )
    return [
        Resource(
            kind="image",
            external_id=str(image["id"]),
            metadata=_our_metadata(image),
        )
        for image in listed
        # A cloud that does not filter shows everybody's.
        if image.get(PROVIDER_NAME) == provider_name
    ]


async def built_images(calls: Calls) -> list[ImageInCloud]:
    """The images that builders made, of whichever provider."""
    # What merely is there cannot be asked for.
    listed = await everything(calls, "list images", "image", "/images", "images")
    return [
        ImageInCloud(
            external_id=str(image["id"]),
            name=str(image.get("name") or ""),
            metadata=_our_metadata(image),
        )
        for image in listed
        if image.get(BUILD_ID) is not None
    ]


def _our_metadata(image: Mapping[str, Any]) -> dict[str, str]:
    return {key: str(image[key]) for key in _OURS if image.get(key) is not None}


def _path(image_id: str) -> str:
    return f"/images/{quote(image_id, safe='')}"
