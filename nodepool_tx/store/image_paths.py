"""Where builders keep what belongs to an image, and the way back from such a path."""

from __future__ import annotations

import attrs

from nodepool_tx.store import paths

__all__ = [
    "ImagePlace",
    "build_lock",
    "build_request",
    "builds",
    "builds_lock",
    "image",
    "is_name",
    "pause",
    "place_of",
    "provider",
    "providers",
    "upload_lock",
    "uploads",
    "uploads_lock",
]

LOCK = "lock"
PAUSE = "pause"
REQUEST = "request-build"


def image(name: str) -> str:
    return f"{paths.IMAGES}/{name}"


def pause(name: str) -> str:
    return f"{image(name)}/{PAUSE}"


def build_request(name: str) -> str:
    return f"{image(name)}/{REQUEST}"


def builds(name: str) -> str:
    return f"{image(name)}/builds"


def builds_lock(name: str) -> str:
    """Held by the builder that builds the image."""
    return f"{builds(name)}/{LOCK}"


def build_lock(name: str, build_id: str) -> str:
    """Held by whoever marks a build for removal."""
    return f"{paths.image_build(name, build_id)}/{LOCK}"


def providers(name: str, build_id: str) -> str:
    return f"{paths.image_build(name, build_id)}/providers"


def provider(name: str, build_id: str, provider_name: str) -> str:
    return f"{providers(name, build_id)}/{provider_name}"


def uploads(name: str, build_id: str, provider_name: str) -> str:
    return f"{provider(name, build_id, provider_name)}/images"


def uploads_lock(name: str, build_id: str, provider_name: str) -> str:
    """Held by the builder that uploads a build to a provider."""
    return f"{uploads(name, build_id, provider_name)}/{LOCK}"


def upload_lock(name: str, build_id: str, provider_name: str, upload_id: str) -> str:
    """Held by whoever removes an upload or marks it for removal."""
    return f"{uploads(name, build_id, provider_name)}/{upload_id}/{LOCK}"


def is_name(name: str) -> bool:
    """Whether ZooKeeper takes it for one znode."""
    return name not in ("", ".", "..") and all(
        (" " <= char < "\x7f" and char != "/")
        or "\xa0" <= char < "\ud800"
        or "\uf900" <= char < "\ufff0"
        for char in name
    )


@attrs.frozen
class ImagePlace:
    """What a path stands for: a build, an upload of it, or that the image is paused.

    :ivar build_id: None for the pause.
    :ivar provider: None for all but uploads, as :attr:`upload_id`.
    """

    image: str
    build_id: str | None = None
    provider: str | None = None
    upload_id: str | None = None


def place_of(path: str) -> ImagePlace | None:
    """What a path stands for; None for locks, requests, directories and whatever else."""
    if not path.startswith(f"{paths.IMAGES}/"):
        return None
    match paths.below(paths.IMAGES, path):
        case (name, "pause"):
            return ImagePlace(name)
        case (name, "builds", build_id) if build_id != LOCK:
            return ImagePlace(name, build_id)
        case (name, "builds", build_id, "providers", to, "images", upload_id) if (
            build_id != LOCK and upload_id != LOCK
        ):
            return ImagePlace(name, build_id, to, upload_id)
    return None
