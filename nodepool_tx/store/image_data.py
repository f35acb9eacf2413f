"""Copies of all image data, in the form of Nodepool 11's ``export-image-data``.

That is a JSON object: paths of pauses, builds and uploads, each with the data
of its znode as text.

Design note: numbers of uploads
-------------------------------
ZooKeeper numbers uploads by counting how many children a directory ever had;
it does not look at their names.  A directory that is made anew begins at zero,
and a builder's next upload would collide with one that was put back.  So the
count is driven on past the highest number: a child that is made and removed
within one transaction counts, and is seen by nobody.

Design note: writing in steps
-----------------------------
A build and its uploads are put back in one transaction, so a builder that looks
meanwhile sees a build whole or not at all, and an import that was broken off is
finished by doing it again.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

import attrs

from nodepool_tx.store import image_paths, paths
from nodepool_tx.store.change import Moved, Uncertain, connection_errors
from nodepool_tx.store.codec import Unreadable, decode_image_build, decode_image_upload
from nodepool_tx.store.image_paths import ImagePlace, place_of
from nodepool_tx.store.image_tree import Znode, read_tree
from nodepool_tx.txzookeeper.interface import Transaction, TransactionFailed, ZookeeperAPI

__all__ = ["Export", "Garbage", "Imported", "export_images", "import_images", "parse_export"]

#: Uploads beyond this number were never made: counting up to it takes too long.
HIGHEST_UPLOAD = 1_000_000

#: Bytes that ZooKeeper takes for one znode, with room for what goes along.
_LARGEST = 900_000

#: Steps of a count that fit into one transaction.
_STEPS = 500

_ATTEMPTS = 5

#: Builds come with all that belongs to them: path to data.
_Build = dict[str, bytes]


class Garbage(ValueError):
    """A file is no copy of image data."""


@attrs.frozen
class Export:
    """A copy.

    :ivar records: data by path.
    :ivar left_out: paths whose data is no text.
    """

    records: Mapping[str, str]
    left_out: tuple[str, ...] = ()

    def as_json(self) -> str:
        return json.dumps(self.records)


async def export_images(client: ZookeeperAPI) -> Export:
    """Copy everything.

    :raises Uncertain: the connection broke.
    """
    records: dict[str, str] = {}
    left_out = []
    for path, znode in (await read_tree(client, paths.IMAGES)).items():
        if place_of(path) is None:
            continue
        try:
            records[path] = znode.data.decode()
        except UnicodeDecodeError:
            left_out.append(path)
    return Export(records, tuple(left_out))


# -- reading a file ------------------------------------------------------


def parse_export(content: bytes) -> Mapping[str, bytes]:
    """What a file says: data by path.

    :raises Garbage: it is no copy of image data, or only half of one.
    """
    try:
        records = json.loads(content)
    except (ValueError, RecursionError) as e:
        raise Garbage(f"it is no JSON: {e}") from None
    if not isinstance(records, dict):
        raise Garbage(f"expected a JSON object, found {type(records).__name__}")
    found: dict[str, bytes] = {}
    for path, data in records.items():
        try:
            found[path] = _checked(path, data)
        except (Unreadable, Garbage) as e:
            raise Garbage(f"{path!r:.200}: {e}") from None
    for path in found:
        place = place_of(path)
        assert place is not None
        if place.upload_id is not None and _build_path(place) not in found:
            raise Garbage(f"{path!r:.200}: its build is not in the file")
    return found


def _checked(path: str, data: object) -> bytes:
    place = place_of(path)
    if place is None:
        raise Garbage("this is not the path of a build, an upload or a pause")
    for name in (place.image, place.build_id, place.provider):
        if name is not None and not image_paths.is_name(name):
            raise Garbage(f"{name!r:.60} is no name")
    if not isinstance(data, str):
        raise Garbage(f"expected a string, found {type(data).__name__}")
    try:
        encoded = data.encode()
    except UnicodeEncodeError as e:
        raise Garbage(f"it is no text: {e.reason}") from None
    if len(encoded) > _LARGEST:
        raise Garbage(f"{len(encoded)} bytes are more than ZooKeeper takes")
    if place.upload_id is not None and not _is_number(place.upload_id):
        raise Garbage(f"{place.upload_id!r:.60} is not the number of an upload")
    # A builder that dies at the wrong moment leaves records without data.
    if encoded and place.upload_id is not None:
        decode_image_upload("", "", "", "", encoded)
    elif encoded and place.build_id is not None:
        decode_image_build("", "", encoded)
    return encoded


def _is_number(upload_id: str) -> bool:
    digits = len(upload_id) == 10 and upload_id.isascii() and upload_id.isdigit()
    return digits and int(upload_id) <= HIGHEST_UPLOAD


def _build_path(place: ImagePlace) -> str:
    assert place.build_id is not None
    return paths.image_build(place.image, place.build_id)


# -- putting it back -----------------------------------------------------


@attrs.frozen
class Imported:
    """What became of the records of a file: their paths.

    :ivar different: there is something else at these paths, which was left.
    """

    created: tuple[str, ...] = ()
    same: tuple[str, ...] = ()
    different: tuple[str, ...] = ()

    def __add__(self, other: Imported) -> Imported:
        return Imported(
            self.created + other.created,
            self.same + other.same,
            self.different + other.different,
        )


async def import_images(client: ZookeeperAPI, records: Mapping[str, bytes]) -> Imported:
    """Put back what is missing; what is there already stays as it is.

    Doing it again is fine, and finishes what was broken off.

    :param records: from :func:`parse_export`.
    :raises Moved: somebody changes a build all the time.
    :raises Uncertain: the connection broke.
    """
    builds: dict[ImagePlace, _Build] = {}
    for path, data in records.items():
        place = place_of(path)
        assert place is not None
        builds.setdefault(ImagePlace(place.image, place.build_id), {})[path] = data
    done = Imported()
    # Pauses first: nothing is to be built while it is half there.
    for place, build in sorted(builds.items(), key=lambda item: item[0].build_id is not None):
        try:
            parent = image_paths.image(place.image)
            if place.build_id is not None:
                parent = image_paths.builds(place.image)
            await client.ensure_path(parent)
            done += await _import_build(client, place, build)
        except connection_errors as e:
            raise Uncertain(str(e) or type(e).__name__) from e
    return done


async def _import_build(client: ZookeeperAPI, place: ImagePlace, build: _Build) -> Imported:
    root = image_paths.pause(place.image) if place.build_id is None else _build_path(place)
    for _ in range(_ATTEMPTS):
        plan = _Plan(await read_tree(client, root), build)
        txn = client.transaction()
        plan.write(txn)
        try:
            await txn.commit()
            for directory, steps in plan.steps().items():
                await _count(client, directory, steps)
        except TransactionFailed:
            # A builder has written meanwhile, or somebody else imports, too.
            continue
        return plan.result()
    raise Moved("build", root)


async def _count(client: ZookeeperAPI, directory: str, steps: int) -> None:
    """Have ``directory`` count so many children more than it had."""
    for begin in range(0, steps, _STEPS):
        txn = client.transaction()
        for _ in range(min(_STEPS, steps - begin)):
            txn.create(f"{directory}/counting")
            txn.delete(f"{directory}/counting")
        await txn.commit()


class _Plan:
    """What has to be written for one build, or one pause.

    :param there: what there is of it.
    """

    def __init__(self, there: Mapping[str, Znode], build: _Build) -> None:
        self._there = there
        self._created: dict[str, bytes] = {}
        self._filled: list[str] = []
        self._same: list[str] = []
        self._different: list[str] = []
        self._build = build
        for path in sorted(build):
            self._put(path, build[path])

    def _put(self, path: str, data: bytes) -> None:
        """Parents come before what is below them."""
        place = place_of(path)
        assert place is not None
        if place.upload_id is not None:
            parts = path.split("/")
            for above in (-3, -2, -1):
                directory = "/".join(parts[:above])
                if directory not in self._there:
                    self._created.setdefault(directory, b"")
        znode = self._there.get(path)
        if znode is None:
            self._created[path] = data
        elif znode.data == data:
            self._same.append(path)
        elif not znode.data:
            self._filled.append(path)
        else:
            self._different.append(path)

    def write(self, txn: Transaction) -> None:
        """Add all of it to a transaction, but for :meth:`steps`."""
        for path, data in self._created.items():
            txn.create(path, data)
        for path in self._filled:
            txn.set(path, self._build[path], self._there[path].stat.version)

    def steps(self) -> Mapping[str, int]:
        """How much too low each directory of uploads counts when that is written."""
        needed: dict[str, int] = {}
        for path in self._build:
            directory, _, name = path.rpartition("/")
            place = place_of(path)
            if place is not None and place.upload_id is not None:
                needed[directory] = max(needed.get(directory, 0), int(name) + 1)
        return {directory: count - self._counted(directory) for directory, count in needed.items()}

    def _counted(self, directory: str) -> int:
        znode = self._there.get(directory)
        # What is shown counts changes: each child that is gone has made two.
        before = 0 if znode is None else (znode.stat.cversion + znode.stat.numChildren) // 2
        return before + sum(path.rpartition("/")[0] == directory for path in self._created)

    def result(self) -> Imported:
        made = [path for path in (*self._created, *self._filled) if place_of(path) is not None]
        return Imported(tuple(made), tuple(self._same), tuple(self._different))
