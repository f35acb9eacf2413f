"""Images of the simulated cloud."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from hashlib import md5, sha512

import attrs
from twisted.internet.interfaces import IReactorTime

from nodepool_tx.providers.fake.rules import Identities, Refused, lasting

__all__ = ["Image", "Images"]

#: The id that Nodepool 11's simulated cloud gave to its only image.
FIRST = {"Fake Precise": "fake-image-id"}


@attrs.define(eq=False)
class Image:
    """An image: its status is ``queued``, ``saving`` or ``active``.

    :ivar properties: whatever else it was created with.
    """

    id: str
    name: str
    created: float
    updated: float
    status: str = "active"
    visibility: str = "public"
    protected: bool = False
    tags: tuple[str, ...] = ()
    disk_format: str | None = "qcow2"
    container_format: str | None = "bare"
    min_disk: int = 0
    min_ram: int = 0
    size: int | None = 0
    checksum: str | None = None
    sha512: str | None = None
    properties: Mapping[str, str] = attrs.field(factory=dict)


class Images:
    """The images there are.

    :ivar adopt: servers may be made from an image that is not known here, as
        one that another process has uploaded to a simulated cloud of its own.
    """

    def __init__(self, clock: IReactorTime, identities: Identities) -> None:
        self._clock = clock
        self._identities = identities
        self.adopt = False
        self.images: dict[str, Image] = {}
        self._configured: set[str] = set()

    def configure(self, names: Iterable[str]) -> None:
        """Have these from the start, and no more those that were configured before."""
        wanted = {FIRST.get(name) or lasting("image", name): name for name in names}
        for image_id in self._configured - set(wanted):
            self.images.pop(image_id, None)
        now = self._clock.seconds()
        for image_id in wanted.keys() - self._configured:
            self.images[image_id] = Image(
                image_id,
                wanted[image_id],
                now,
                now,
                checksum=md5(usedforsecurity=False).hexdigest(),
                sha512=sha512().hexdigest(),
            )
        self._configured = set(wanted)

    def add(self, image: Image) -> None:
        """Take an image without content.

        :raises Refused: its id is taken.
        """
        if image.id in self.images:
            raise Refused(409, f"there is an image {image.id} already")
        self.images[image.id] = image

    def new_id(self) -> str:
        return self._identities.uuid()

    def find(self, image_id: str) -> Image:
        """:raises Refused: there is no such image."""
        image = self.images.get(image_id)
        if image is None:
            raise Refused(404, f"there is no image {image_id}")
        return image

    def delete(self, image: Image) -> None:
        """:raises Refused: it is protected."""
        if image.protected:
            raise Refused(403, f"the image {image.id} is protected")
        self.images.pop(image.id, None)

    def usable(self, image_id: str) -> None:
        """:raises Refused: no server can be made from it."""
        image = self.images.get(image_id)
        if image is None:
            if not self.adopt:
                raise Refused(400, f"the requested image {image_id} is not found")
        elif image.status != "active":
            raise Refused(400, f"the image {image_id} is not active")
