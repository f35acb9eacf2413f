"""Copies of image data in files: ``export-image-data`` and ``import-image-data``."""

from __future__ import annotations

import contextlib
import os
import stat
import tempfile
from collections.abc import Mapping, Sequence

from nodepool_tx.cli.options import Verbs
from nodepool_tx.cli.outcome import Complaint, ExitCode
from nodepool_tx.cli.visit import Visit
from nodepool_tx.store.change import Conflict
from nodepool_tx.store.image_data import (
    Garbage,
    export_images,
    import_images,
    parse_export,
)
from nodepool_tx.store.image_paths import place_of

__all__ = ["add_verbs"]

#: How many of many paths are named.
_NAMED = 10


def add_verbs(verbs: Verbs) -> None:
    copy = verbs.add(
        "export-image-data",
        "copy all image data into a file",
        export_to_file,
        example="export-image-data images.json",
        formats=(),
    )
    copy.add_argument("path", metavar="FILE", help="written anew, readable only by you")
    back = verbs.add(
        "import-image-data",
        "put image data back from a file; what is there already stays",
        import_from_file,
        example="import-image-data images.json",
        formats=(),
    )
    back.add_argument("path", metavar="FILE", help="from export-image-data, also Nodepool 11's")


async def export_to_file(visit: Visit) -> int:
    """``export-image-data``."""
    path = visit.options.path
    export = await export_images(visit.client)
    try:
        _write(path, export.as_json().encode())
    except OSError as e:
        raise Complaint(f"cannot write {path}: {e.strerror or e}") from None
    visit.terminal.note(f"{path}: {_counted(export.records)}")
    if export.left_out:
        raise Complaint(f"left out, as their data is no text: {_named(export.left_out)}")
    return ExitCode.OK


def _write(path: str, content: bytes) -> None:
    """Write a file, that appears when it is complete; pipes and devices get it as it comes."""
    with contextlib.suppress(FileNotFoundError):
        if not stat.S_ISREG(os.stat(path).st_mode):
            with open(path, "wb") as out:
                out.write(content)
            return
    path = os.path.realpath(path)
    # Nobody but its owner may read this from the beginning on.
    descriptor, new = tempfile.mkstemp(dir=os.path.dirname(path), prefix=".nodepool-export-")
    try:
        with open(descriptor, "wb") as out:
            out.write(content)
            out.flush()
            os.fsync(out.fileno())
        os.replace(new, path)
    except BaseException:
        os.unlink(new)
        raise


async def import_from_file(visit: Visit) -> int:
    """``import-image-data``."""
    path = visit.options.path
    try:
        with open(path, "rb") as source:
            content = source.read()
        records = parse_export(content)
    except OSError as e:
        raise Complaint(f"cannot read {path}: {e.strerror or e}", ExitCode.USAGE) from None
    except Garbage as e:
        raise Complaint(
            f"{path} is no copy of image data, and nothing was written: {e}", ExitCode.USAGE
        ) from None
    try:
        done = await import_images(visit.client, records)
    except Conflict as e:
        raise Complaint(f"{e} all the time: import again when the builders are stopped") from None
    visit.terminal.note(f"{path}: {_counted(records)}")
    visit.terminal.note(f"imported: {_counted(done.created)}")
    if done.same:
        visit.terminal.note(f"there already: {_counted(done.same)}")
    if done.different:
        raise Complaint(
            f"different in ZooKeeper, and left as it is there: {_named(done.different)}"
        )
    return ExitCode.OK


def _counted(paths: Mapping[str, object] | Sequence[str]) -> str:
    places = [place for path in paths if (place := place_of(path)) is not None]
    uploads = sum(place.upload_id is not None for place in places)
    builds = sum(place.build_id is not None for place in places) - uploads
    return f"{builds} builds, {uploads} uploads, {len(places) - builds - uploads} pauses"


def _named(paths: Sequence[str]) -> str:
    more = f" and {len(paths) - _NAMED} more" if len(paths) > _NAMED else ""
    return ", ".join(paths[:_NAMED]) + more
