"""The verbs about disk images: lists, and what people ask of builders."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import TypeVar

from nodepool_tx.cli import aliens, erase, image_data
from nodepool_tx.cli.options import Verbs
from nodepool_tx.cli.outcome import Complaint, ExitCode
from nodepool_tx.cli.showing import show
from nodepool_tx.cli.visit import Visit
from nodepool_tx.model import ImageBuild, ImageUpload
from nodepool_tx.reports.images import (
    ImageStatus,
    dib_image_report,
    image_list_report,
    image_status_report,
)
from nodepool_tx.reports.report import Report
from nodepool_tx.store import image_paths
from nodepool_tx.store.change import Conflict, Vanished
from nodepool_tx.store.codec import Unreadable
from nodepool_tx.store.image_changes import AtWork, ImageChanges

__all__ = ["add_verbs"]

T = TypeVar("T")


def add_verbs(verbs: Verbs) -> None:
    verbs.add_list(
        "dib-image-list",
        "list the builds of disk images",
        list_builds,
        example="dib-image-list --watch",
    )
    verbs.add_list(
        "image-list", "list the uploads to providers", list_uploads, example="image-list"
    )
    verbs.add_list(
        "image-status",
        "list images, whether they are paused and whether a build was asked for",
        list_statuses,
        example="image-status --format json",
    )
    for name, help, does in (
        ("image-build", "have an image built out of turn", build),
        ("image-pause", "have no builder begin to build an image", pause),
        ("image-unpause", "let builders build an image again", unpause),
    ):
        verb = verbs.add(name, help, does, example=f"{name} debian-bookworm")
        verb.add_argument("image", metavar="IMAGE")
    aliens.add_verbs(verbs)
    delete = verbs.add(
        "image-delete",
        "have an upload removed from its provider",
        delete_upload,
        example="image-delete --provider rack1 --image debian-bookworm "
        "--build-id 4b9b4f9c --upload-id 0000000001",
    )
    for option, metavar, help in (
        ("--provider", "PROVIDER", "where it is"),
        ("--image", "IMAGE", "what it is an image of"),
        ("--build-id", "BUILD_ID", "of which build"),
        ("--upload-id", "UPLOAD_ID", "which upload of that build"),
    ):
        delete.add_argument(option, metavar=metavar, required=True, help=help)
    delete_all = verbs.add(
        "dib-image-delete",
        "have a build removed, with its files and all its uploads",
        delete_build,
        example="dib-image-delete debian-bookworm-4b9b4f9c",
    )
    delete_all.add_argument("id", metavar="IMAGE-BUILD", help="its ID, as dib-image-list shows it")
    erase.add_verbs(verbs)
    image_data.add_verbs(verbs)


# -- lists ---------------------------------------------------------------


async def list_builds(visit: Visit) -> Report:
    """``dib-image-list``."""
    return _builds(visit, visit.store.images.builds())


async def list_uploads(visit: Visit) -> Report:
    """``image-list``."""
    return _uploads(visit, visit.store.images.uploads())


async def list_statuses(visit: Visit) -> Report:
    """``image-status``."""
    return _statuses(visit, visit.store.images.flags.names())


def _builds(visit: Visit, builds: Iterable[ImageBuild]) -> Report:
    return dib_image_report(builds, visit.store.images.flags.is_paused, visit.clock.seconds())


def _uploads(visit: Visit, uploads: Iterable[ImageUpload]) -> Report:
    return image_list_report(uploads, visit.clock.seconds())


def _statuses(visit: Visit, names: Iterable[str]) -> Report:
    images = visit.store.images

    def status(name: str) -> ImageStatus:
        request = images.flags.request(name)
        if request is None:
            return ImageStatus(name, images.flags.is_paused(name))
        answer = "building" if images.is_being_built(name) else "pending"
        return ImageStatus(name, images.flags.is_paused(name), answer, request.since)

    return image_status_report(map(status, names), visit.clock.seconds())


# -- what is asked of builders -------------------------------------------


async def build(visit: Visit) -> int:
    """``image-build``."""
    image, images = visit.options.image, visit.store.images
    known = visit.config.diskimages if visit.config is not None else {}
    if image not in known:
        raise Complaint(
            f"there is no disk image {image} in the configuration: {_those(known)}"
            if visit.config is not None
            else "there is no configuration that says how images are built (name yours with -c)"
        )
    if known[image].pause:
        raise Complaint(
            f"image {image} is paused in the configuration, so no builder would build it: "
            "remove its pause there first"
        )
    if not await _changes(visit).request_build(image):
        visit.terminal.note(f"a build of image {image} was asked for already")
    if images.flags.is_paused(image):
        visit.terminal.note(f"it waits for: nodepool image-unpause {image}")
    return await _show_status(visit)


async def pause(visit: Visit) -> int:
    """``image-pause``."""
    _must_be_known(visit)
    if not await _changes(visit).pause(visit.options.image):
        visit.terminal.note(f"image {visit.options.image} was paused already")
    return await _show_status(visit)


async def unpause(visit: Visit) -> int:
    """``image-unpause``."""
    image = visit.options.image
    _must_be_known(visit)
    if not await _changes(visit).unpause(image):
        visit.terminal.note(f"image {image} was not paused")
    configured = visit.config.diskimages.get(image) if visit.config is not None else None
    if configured is not None and configured.pause:
        visit.terminal.note(f"image {image} is still paused in the configuration")
    return await _show_status(visit)


def _must_be_known(visit: Visit) -> None:
    """A name that nobody knows is a typing mistake, and nothing to remember for ever."""
    image, flags = visit.options.image, visit.store.images.flags
    configured = visit.config.diskimages if visit.config is not None else {}
    if image not in configured and not flags.is_known(image):
        raise Complaint(f"there is no image {image}: {_those({*configured, *flags.names()})}")


def _those(names: Iterable[str]) -> str:
    return f"there is {', '.join(sorted(names)) or 'none'}"


async def _show_status(visit: Visit) -> int:
    await visit.store.barrier()
    flags, image = visit.store.images.flags, visit.options.image
    return show(visit, _statuses(visit, [image] if flags.is_known(image) else []))


# -- what builders are to remove -----------------------------------------


async def delete_upload(visit: Visit) -> int:
    """``image-delete``."""
    options = visit.options
    names = (options.image, options.build_id, options.provider, options.upload_id)
    words = f"upload {options.upload_id} of build {options.image}-{options.build_id} "
    words += f"to provider {options.provider}"
    upload = await _marked(_changes(visit).delete_upload, names, words, "nodepool image-list")
    return show(visit, _uploads(visit, [upload]))


async def delete_build(visit: Visit) -> int:
    """``dib-image-delete``."""
    image, dash, build_id = visit.options.id.rpartition("-")
    if not (image and dash and build_id):
        raise Complaint(
            f"{visit.options.id} is not the id of a build, which is IMAGE-BUILD; "
            "nodepool dib-image-list shows all",
            ExitCode.USAGE,
        )
    words = f"build {image}-{build_id}"
    marking = _changes(visit).delete_build
    found = await _marked(marking, (image, build_id), words, "nodepool dib-image-list")
    return show(visit, _builds(visit, [found]))


async def _marked(
    mark: Callable[..., Awaitable[T]], names: Iterable[str], words: str, list_verb: str
) -> T:
    try:
        if not all(map(image_paths.is_name, names)):
            raise Vanished("image", words)
        return await mark(*names)
    except Vanished:
        raise Complaint(f"there is no {words}; {list_verb} shows all") from None
    except AtWork:
        raise Complaint(
            f"{words} is still being made: try again when {list_verb} shows it ready or failed"
        ) from None
    except Conflict as e:
        raise Complaint(f"{words} {e.reason}: a builder is at it; try again") from None
    except Unreadable as e:
        raise Complaint(f"{words} is unreadable, and nothing was changed: {e}") from None


def _changes(visit: Visit) -> ImageChanges:
    return ImageChanges(visit.client, visit.clock)
