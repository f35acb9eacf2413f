"""What people are shown of disk images."""

from __future__ import annotations

from typing import Any

from nodepool_tx.reports.images import (
    ImageStatus,
    dib_image_report,
    image_list_report,
    image_status_report,
)
from nodepool_tx.reports.report import Report
from nodepool_tx.status.farm import Farm

__all__ = ["build_list", "image_status_list", "image_statuses", "upload_list"]


def build_list(farm: Farm) -> Report:
    """Every build of every image."""
    images = farm.store.images
    return dib_image_report(images.builds(), images.flags.is_paused, farm.now)


def upload_list(farm: Farm) -> Report:
    """Every upload to every provider."""
    return image_list_report(farm.store.images.uploads(), farm.now)


def image_status_list(farm: Farm) -> Report:
    """What is asked of builders."""
    images = farm.store.images

    def status(name: str) -> ImageStatus:
        paused, request = images.flags.is_paused(name), images.flags.request(name)
        if request is None:
            return ImageStatus(name, paused)
        answer = "building" if images.is_being_built(name) else "pending"
        return ImageStatus(name, paused, answer, request.since)

    return image_status_report(map(status, images.flags.names()), farm.now)


def image_statuses(farm: Farm) -> dict[str, Any]:
    """Builds and uploads with the keys of the lists."""
    return {
        "builds": list(build_list(farm).as_value()),
        "uploads": list(upload_list(farm).as_value()),
    }
