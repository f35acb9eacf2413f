"""What a new server is made from, and how it is reached for that."""

from __future__ import annotations

from typing import Any

import attrs

from nodepool_tx.config.cloud import CloudLabel
from nodepool_tx.providers.cloud.errors import CloudError
from nodepool_tx.providers.cloud.interface import Login
from nodepool_tx.store import paths
from nodepool_tx.store.images import ImageTable

__all__ = ["ChosenImage", "NoImage", "choose_image", "has_image"]


class NoImage(CloudError):
    """No upload of the label's disk image can be used now."""


@attrs.frozen
class ChosenImage:
    """The image of one attempt.

    :ivar external_id: the cloud's id of an uploaded image; None where the
        label names an image itself.
    :ivar image_id: what the node's record shows: the path of the upload, or
        the name of the cloud's image.
    """

    external_id: str | None
    image_id: str | None
    login: Login


def has_image(label: CloudLabel, images: ImageTable, provider: str) -> bool:
    """Whether :func:`choose_image` would find one."""
    image = label.image
    return image is None or not image.diskimage or images.newest(image.name, provider) is not None


def choose_image(label: CloudLabel, images: ImageTable, provider: str) -> ChosenImage:
    """The newest there is now.

    :raises NoImage: there is none.
    """
    image = label.image
    if image is None:
        return ChosenImage(None, None, Login())
    login: dict[str, Any] = {
        "username": image.username,
        "python_path": image.python_path,
        "shell_type": image.shell_type,
        "connection_type": image.connection_type,
        "connection_port": image.connection_port,
    }
    if not image.diskimage:
        return ChosenImage(None, image.name, Login(**login))
    upload = images.newest(image.name, provider)
    if upload is None:
        raise NoImage(f"no upload of the image {image.name} to {provider} is ready")
    for field in ("username", "python_path", "shell_type"):
        if login[field] is None:
            login[field] = getattr(upload, field)
    path = paths.image_upload(image.name, upload.build_id, provider, upload.id)
    return ChosenImage(str(upload.external_id), path, Login(**login))
