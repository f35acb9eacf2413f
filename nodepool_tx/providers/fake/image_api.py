"""The simulated cloud's image service, version 2."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from pathlib import Path
from typing import Any

from nodepool_tx.providers.fake.api import Call, page
from nodepool_tx.providers.fake.cloud import SimulatedOpenStack
from nodepool_tx.providers.fake.images import Image
from nodepool_tx.providers.fake.rules import PROJECT, Refused, date, text
from nodepool_tx.providers.openstack.transport import Answer

__all__ = ["ImageService", "store_file"]

Pause = Callable[[], Awaitable[None]]

#: How many images a page has if nothing is said, and at most.
PAGE, MOST = 25, 1000

#: Bytes read of a file between two turns of the reactor.
CHUNK = 1 << 20

#: What the service itself knows of an image; all else is kept as properties.
SETTABLE = frozenset(
    (
        "id",
        "name",
        "visibility",
        "protected",
        "tags",
        "disk_format",
        "container_format",
        "min_disk",
        "min_ram",
    )
)

#: What of a query is not to be found in an image.
NO_FILTERS = frozenset(("limit", "marker", "sort", "sort_key", "sort_dir", "member_status"))


class ImageService:
    """Answers calls about images, all but the upload of their content."""

    def __init__(self, cloud: SimulatedOpenStack) -> None:
        self._cloud = cloud
        self._images = cloud.images

    def __call__(self, call: Call) -> Answer:
        try:
            return self._answer(call)
        except Refused as e:
            return self.refuse(e)

    @staticmethod
    def refuse(error: Refused) -> Answer:
        """How this service says no."""
        title = HTTPStatus(error.status).phrase
        code = f"{error.status} {title}"
        return Answer(error.status, body={"message": error.message, "code": code, "title": title})

    def _answer(self, call: Call) -> Answer:
        match (call.method, *call.path):
            case ("GET", "images"):
                return self._list(call)
            case ("POST", "images"):
                return self._create(call.body)
            case ("GET", "images", image_id):
                return Answer(200, body=_view(self._images.find(image_id)))
            case ("DELETE", "images", image_id):
                self._images.delete(self._images.find(image_id))
                return Answer(204)
        raise Refused(404, "the resource could not be found")

    def _list(self, call: Call) -> Answer:
        # The order of a dictionary is that of time, and the newest come first.
        images = list(reversed(self._images.images.values()))
        for key, value in call.query.items():
            if key == "tag":
                images = [each for each in images if value in each.tags]
            elif key not in NO_FILTERS:
                images = [each for each in images if str(_view(each).get(key)) == value]
        if "limit" not in call.query:
            call = Call(call.method, call.path, {**call.query, "limit": str(PAGE)})
        part, more = page(call, images, MOST, lambda image: image.id)
        body: dict[str, Any] = {
            "images": [_view(image) for image in part],
            "first": "/v2/images",
            "schema": "/v2/schemas/images",
        }
        if more is not None:
            body["next"] = f"/v2/images?{more}"
        return Answer(200, body=body)

    def _create(self, body: Any) -> Answer:
        if not isinstance(body, dict):
            raise Refused(400, "the body is no object")
        for key, value in body.items():
            if key not in SETTABLE and not isinstance(value, str):
                raise Refused(400, f"the property {key} is {value!r}, which is no string")
        now = self._cloud.clock.seconds()
        image = Image(
            id=text(body, "id") or self._images.new_id(),
            name=text(body, "name"),
            created=now,
            updated=now,
            status="queued",
            visibility=text(body, "visibility", "shared"),
            protected=bool(body.get("protected", False)),
            tags=tuple(body.get("tags", ())),
            disk_format=body.get("disk_format"),
            container_format=body.get("container_format"),
            min_disk=int(body.get("min_disk", 0)),
            min_ram=int(body.get("min_ram", 0)),
            size=None,
            properties={k: v for k, v in body.items() if k not in SETTABLE},
        )
        self._images.add(image)
        return Answer(201, {"location": f"/v2/images/{image.id}"}, _view(image))


async def store_file(cloud: SimulatedOpenStack, image_id: str, file: Path, pause: Pause) -> Answer:
    """Take the content of an image: all that is kept of it is its size and sums.

    :param pause: awaited between two pieces of the file.
    """
    try:
        image = cloud.images.find(image_id)
        if image.status != "queued":
            raise Refused(409, f"the image {image_id} has content already")
        if image.disk_format is None or image.container_format is None:
            raise Refused(400, f"the format of the image {image_id} is not known")
    except Refused as e:
        return ImageService.refuse(e)
    image.status = "saving"
    try:
        size, md5, sha512 = await _measure(file, pause)
    except BaseException:
        image.status = "queued"
        raise
    if image.id not in cloud.images.images:
        return Answer(410)
    image.size, image.checksum, image.sha512 = size, md5, sha512
    image.status, image.updated = "active", cloud.clock.seconds()
    return Answer(204)


async def _measure(file: Path, pause: Pause) -> tuple[int, str, str]:
    md5, sha512, size = hashlib.md5(usedforsecurity=False), hashlib.sha512(), 0
    with file.open("rb") as content:
        while chunk := content.read(CHUNK):
            md5.update(chunk)
            sha512.update(chunk)
            size += len(chunk)
            await pause()
    return size, md5.hexdigest(), sha512.hexdigest()


def _view(image: Image) -> Mapping[str, Any]:
    return {
        **image.properties,
        "id": image.id,
        "name": image.name,
        "status": image.status,
        "visibility": image.visibility,
        "protected": image.protected,
        "os_hidden": False,
        "owner": PROJECT,
        "tags": list(image.tags),
        "disk_format": image.disk_format,
        "container_format": image.container_format,
        "min_disk": image.min_disk,
        "min_ram": image.min_ram,
        "size": image.size,
        "virtual_size": image.size if image.status == "active" else None,
        "checksum": image.checksum,
        "os_hash_algo": None if image.sha512 is None else "sha512",
        "os_hash_value": image.sha512,
        "created_at": date(image.created),
        "updated_at": date(image.updated),
        "file": f"/v2/images/{image.id}/file",
        "self": f"/v2/images/{image.id}",
        "schema": "/v2/schemas/image",
    }
