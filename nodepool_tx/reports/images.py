"""Lists of images: what builders built, what providers have, and what is asked of builders.

Nodepool 11's JSON has the time of the last change as ``age``, in whole seconds
since the epoch; its tables, and all of ours, show how long ago that was.  Ours
has the time beside it, as ``since``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import attrs

from nodepool_tx.model import ImageBuild, ImageUpload
from nodepool_tx.reports.report import Column, Report, Tone, show_age, tone_of

__all__ = ["ImageStatus", "dib_image_report", "image_list_report", "image_status_report"]


@attrs.frozen
class ImageStatus:
    """What is wanted of builders for one image.

    :ivar build_request: ``pending`` or ``building``; None if nobody asked.
    :ivar requested: when somebody asked, in seconds since the epoch.
    """

    image: str
    paused: bool
    build_request: str | None = None
    requested: float | None = None


def _whole(key: str) -> Callable[[Mapping[str, Any]], int | None]:
    return lambda row: None if row[key] is None else int(row[key])


def _age(key: str, header: str, since: str) -> tuple[Column, Column]:
    """How long ago, and since when."""
    return (
        Column(key, header, show_age, reference=_whole(since), passing=True),
        Column(since, "Since", ours=True),
    )


_BUILD_COLUMNS = (
    Column("id", "ID"),
    Column("image", "Image"),
    Column("builder", "Builder"),
    Column("formats", "Formats"),
    Column("state", "State", tone=tone_of),
    *_age("age", "Age", "since"),
)
_UPLOAD_COLUMNS = (
    Column("id", "Build ID"),
    Column("upload_id", "Upload ID"),
    Column("provider", "Provider"),
    Column("image", "Image"),
    Column("external_name", "Provider Image Name"),
    Column("external_id", "Provider Image ID"),
    Column("state", "State", tone=tone_of),
    *_age("age", "Age", "since"),
)
_STATUS_COLUMNS = (
    Column("image", "Image"),
    Column("paused", "Paused", tone=lambda paused: Tone.HELD if paused else None),
    Column("build_request", "Build Request", tone=tone_of),
    *_age("build_request_age", "Build Request Age", "build_request_since"),
)


def _report(columns: tuple[Column, ...], rows: Iterable[Mapping[str, Any]]) -> Report:
    return Report(columns, tuple(rows), [column.key for column in columns if not column.ours])


def dib_image_report(
    builds: Iterable[ImageBuild], is_paused: Callable[[str], bool], now: float
) -> Report:
    """``dib-image-list``: every build, by image and number; those of a paused image are paused."""
    return _report(
        _BUILD_COLUMNS,
        (
            {
                "id": f"{build.image}-{build.id}",
                "image": build.image,
                "builder": build.builder,
                "formats": sorted(build.formats),
                "state": "paused" if is_paused(build.image) else build.state.value,
                "age": round(now - build.state_time, 3),
                "since": build.state_time,
            }
            for build in sorted(builds, key=lambda build: (build.image, build.id))
        ),
    )


def image_list_report(uploads: Iterable[ImageUpload], now: float) -> Report:
    """``image-list``: every upload, by image, build, provider and number."""
    return _report(
        _UPLOAD_COLUMNS,
        (
            {
                "id": upload.build_id,
                "upload_id": upload.id,
                "provider": upload.provider,
                "image": upload.image,
                "external_name": upload.external_name,
                "external_id": upload.external_id,
                "state": upload.state.value,
                "age": round(now - upload.state_time, 3),
                "since": upload.state_time,
            }
            for upload in sorted(
                uploads, key=lambda one: (one.image, one.build_id, one.provider, one.id)
            )
        ),
    )


def image_status_report(statuses: Iterable[ImageStatus], now: float) -> Report:
    """``image-status``: every image, by name."""
    return _report(
        _STATUS_COLUMNS,
        (
            {
                "image": status.image,
                "paused": status.paused,
                "build_request": status.build_request,
                "build_request_age": (
                    None if status.requested is None else round(now - status.requested, 3)
                ),
                "build_request_since": status.requested,
            }
            for status in sorted(statuses, key=lambda status: status.image)
        ),
    )
