"""Copies of image data: what a file may hold, and what is put back of it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from nodepool_tx.store import image_paths, paths
from nodepool_tx.store.change import Moved, Uncertain
from nodepool_tx.store.image_data import (
    HIGHEST_UPLOAD,
    Garbage,
    Imported,
    export_images,
    import_images,
    parse_export,
)
from nodepool_tx.testing.zookeeper import MemoryZookeeper
from tests.store.harness import StoreTestCase

BUILD = json.dumps({"state": "ready", "state_time": 17.5, "formats": "qcow2"})
UPLOAD = json.dumps({"state": "ready", "state_time": 18.5, "external_id": "x"})

B1 = paths.image_build("debian", "b1")
SKY = image_paths.uploads("debian", "b1", "sky")
PAUSE = image_paths.pause("debian")
FILE = {PAUSE: "", B1: BUILD, f"{SKY}/0000000002": UPLOAD, f"{SKY}/0000000004": UPLOAD}


def records(file: Mapping[str, str]) -> Mapping[str, bytes]:
    return parse_export(json.dumps(file).encode())


class TestFiles:
    """What a file may hold."""

    def test_a_copy(self) -> None:
        """Is read as it is."""
        assert records(FILE) == {path: data.encode() for path, data in FILE.items()}
        assert records({}) == {}

    def test_records_without_data(self) -> None:
        """Are copied, as Nodepool 11 does: a builder may die between two writes."""
        assert records({B1: "", f"{SKY}/0000000002": ""})[B1] == b""

    @pytest.mark.parametrize(
        ("content", "reason"),
        [
            (b"", "no JSON"),
            (b"{", "no JSON"),
            (b"\xff\xfe\x00", "no JSON"),
            (b"[" * 100_000, "no JSON"),
            (b"[]", "expected a JSON object, found list"),
            (b"null", "expected a JSON object, found NoneType"),
        ],
    )
    def test_what_is_no_copy(self, content: bytes, reason: str) -> None:
        """Is refused with the reason."""
        with pytest.raises(Garbage, match=reason):
            parse_export(content)

    @pytest.mark.parametrize(
        "path",
        [
            "",
            "x",
            "/",
            "/nodepool/images",
            "/nodepool/images/",
            "/nodepool/images/debian",
            "/nodepool/images/debian/builds",
            "/nodepool/images/debian/builds/lock",
            "/nodepool/images/debian/request-build",
            "/nodepool/images//pause",
            "/nodepool/images/../pause",
            "/nodepool/images/de\u0001bian/pause",
            "/nodepool/images/de\ud800bian/pause",
            "/nodepool/images/debian/builds/.",
            "/nodepool/nodes/0000000001",
            f"/other{B1}",
            f"{B1}/providers/sky",
            f"{SKY}/lock",
            f"{SKY}/1",
            f"{SKY}/-000000001",
            f"{SKY}/00000000\u0661\u0661",
            f"{SKY}/{HIGHEST_UPLOAD + 1:010}",
            f"{SKY}/0000000001/lock",
        ],
    )
    def test_other_paths(self, path: str) -> None:
        """Nothing is written elsewhere, whatever a file says; the path is named."""
        with pytest.raises(Garbage) as refused:
            records({B1: BUILD, path: UPLOAD})
        assert str(refused.value).startswith(repr(path))

    @pytest.mark.parametrize(
        ("path", "data"),
        [
            (B1, 5),
            (B1, None),
            (PAUSE, {}),
            (B1, "junk"),
            (B1, "[]"),
            (B1, '{"state": "uploading"}'),
            (B1, "\ud800"),
            (PAUSE, "x" * 1_000_000),
            (f"{SKY}/0000000001", '{"state": "building"}'),
            (f"{SKY}/0000000001", '{"state": "ready", "state_time": "now"}'),
        ],
    )
    def test_data_that_makes_no_sense(self, path: str, data: Any) -> None:
        """Is refused, and the record named."""
        with pytest.raises(Garbage) as refused:
            records({B1: BUILD, path: data})
        assert str(refused.value).startswith(repr(path))

    def test_half_a_copy(self) -> None:
        """Uploads without their build are refused."""
        with pytest.raises(Garbage, match="its build is not in the file"):
            records({f"{SKY}/0000000001": UPLOAD})


@given(
    st.binary(max_size=60)
    | st.recursive(
        st.none() | st.integers() | st.text(max_size=8),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from([*FILE, "x"]) | st.text(max_size=30), inner, max_size=4
            )
        ),
        max_leaves=8,
    ).map(lambda value: json.dumps(value).encode())
)
def test_any_file(content: bytes) -> None:
    """Is a copy, or garbage; nothing else comes of it."""
    try:
        found = parse_export(content)
    except Garbage:
        found = {}
    assert all(path.startswith("/nodepool/images/") for path in found)


class ImportTests(StoreTestCase):
    """What is put back."""

    def put(self, file: Mapping[str, str]) -> Imported:
        return self.run_until_done(import_images(self.client, records(file)))

    def there(self) -> dict[str, bytes]:
        return {
            path: data
            for path, data in self.inspector.dump(paths.IMAGES).items()
            if image_paths.place_of(path) is not None
        }

    def next_number(self) -> str:
        """What a builder's next upload would be called."""
        path = self.inspector.create(f"{SKY}/", b"", sequence=True)
        self.inspector.delete_tree(path)
        return path.rpartition("/")[2]

    def test_into_an_empty_tree(self) -> None:
        """Everything is there, and the next upload gets a number of its own."""
        done = self.put(FILE)
        self.assertEqual(self.there(), records(FILE))
        self.assertCountEqual(done.created, FILE)
        self.assertEqual((done.same, done.different), ((), ()))
        self.assertEqual(self.next_number(), "0000000005")
        self.assertNotIn(f"{SKY}/counting", self.inspector.dump(SKY))

    def test_high_numbers(self) -> None:
        """Are counted up to, in as many steps as it takes."""
        self.put({B1: BUILD, f"{SKY}/0000002345": UPLOAD})
        self.assertEqual(self.next_number(), "0000002346")

    def test_again(self) -> None:
        """Nothing is written; all of it is there already."""
        self.put(FILE)
        stats = {path: self.inspector.stat(path) for path in self.inspector.dump(paths.IMAGES)}
        done = self.put(FILE)
        self.assertEqual((done.created, done.different), ((), ()))
        self.assertCountEqual(done.same, FILE)
        self.assertEqual(
            {path: self.inspector.stat(path) for path in self.inspector.dump(paths.IMAGES)}, stats
        )

    def test_what_is_missing(self) -> None:
        """Is added to what is there; numbers that were given away are not given again."""
        self.inspector.create(B1, BUILD.encode())
        for _ in range(7):
            path = self.inspector.create(f"{SKY}/", UPLOAD.encode(), sequence=True)
        self.inspector.delete_tree(path)
        self.inspector.delete_tree(f"{SKY}/0000000004")
        done = self.put(FILE)
        self.assertCountEqual(done.created, [PAUSE, f"{SKY}/0000000004"])
        self.assertCountEqual(done.same, [B1, f"{SKY}/0000000002"])
        self.assertEqual(int(self.next_number()), 8)

    def test_what_is_different(self) -> None:
        """Stays, and is told; what has no data yet is filled."""
        other = json.dumps({"state": "deleting"}).encode()
        self.inspector.create(B1)
        self.inspector.create(f"{SKY}/0000000002", other)
        done = self.put(FILE)
        self.assertEqual(done.different, (f"{SKY}/0000000002",))
        self.assertEqual(self.there(), {**records(FILE), f"{SKY}/0000000002": other})
        self.assertIn(B1, done.created)

    def test_somebody_else_at_the_same_time(self) -> None:
        """What came between looking and writing is seen, and stays."""
        failed = b'{"state": "failed"}'
        # First the pause is written, then the build.
        calls = []

        def somebody(call: object) -> None:
            calls.append(call)
            if len(calls) == 2:
                self.inspector.create(B1, failed)

        self.inspector.before("transaction", somebody, times=None)
        done = self.put(FILE)
        self.assertEqual(len(calls), 4)
        self.assertEqual(self.there()[B1], failed)
        self.assertEqual(done.different, (B1,))
        self.assertIn(f"{SKY}/0000000004", self.there())
        self.assertEqual(self.next_number(), "0000000005")

    def test_somebody_else_all_the_time(self) -> None:
        """Then it is given up, and whose build it is said."""
        self.put({B1: BUILD})
        uploads = iter(range(9))

        def somebody(call: object) -> None:
            place = f"{image_paths.provider('debian', 'b1', f'p{next(uploads)}')}/images"
            self.inspector.create(place)

        file = {
            f"{image_paths.uploads('debian', 'b1', f'p{n}')}/0000000000": UPLOAD for n in range(9)
        }
        self.inspector.before("transaction", somebody, times=None)
        moved = self.failure_of(import_images(self.client, records({B1: BUILD, **file})), Moved)
        self.assertIn(B1, str(moved))

    def test_without_a_connection(self) -> None:
        """It is said that nothing is known; later it is finished."""
        self.inspector.suspend(self.client)
        self.failure_of(import_images(self.client, records(FILE)), Uncertain)
        self.failure_of(export_images(self.client), Uncertain)
        self.inspector.resume(self.client)
        self.settle()
        self.put(FILE)
        self.assertEqual(self.there(), records(FILE))

    def test_copying(self) -> None:
        """All builds, uploads and pauses; no locks and no requests.  What is no text is named."""
        self.put(FILE)
        self.inspector.create(f"{B1}/lock/x__lock__0000000000")
        self.inspector.create(f"{SKY}/0000000002/lock")
        self.inspector.create(image_paths.build_request("debian"))
        self.inspector.create(image_paths.builds_lock("debian"))
        export = self.run_until_done(export_images(self.client))
        self.assertEqual((dict(export.records), export.left_out), (FILE, ()))
        self.assertEqual(json.loads(export.as_json()), FILE)
        self.inspector.set(B1, b"\xff")
        export = self.run_until_done(export_images(self.client))
        self.assertEqual(export.left_out, (B1,))
        self.assertNotIn(B1, export.records)


names = st.sampled_from(["debian", "alma-9", "b\u00e4r", "lock", "pause", "a b"])
uploads = st.tuples(names, st.integers(0, 600))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.dictionaries(
        st.tuples(names, st.sampled_from(["b1", "0c"])), st.sets(uploads, max_size=4), max_size=4
    ),
    st.sets(names, max_size=3),
    st.data(),
)
def test_there_and_back(
    builds: dict[tuple[str, str], set[tuple[str, int]]], paused: set[str], data: st.DataObject
) -> None:
    """Whatever part of a copy is there already, importing makes it whole, and numbers go on."""
    file = {image_paths.pause(name): "" for name in paused}
    highest: dict[str, int] = {}
    for (image, build_id), of_build in builds.items():
        file[paths.image_build(image, build_id)] = BUILD
        for provider, number in of_build:
            place = image_paths.uploads(image, build_id, provider)
            file[f"{place}/{number:010}"] = UPLOAD
            highest[place] = max(highest.get(place, 0), number)
    clock = Clock()
    zookeeper = MemoryZookeeper(clock)
    inspector, client = zookeeper.inspector, zookeeper.client()
    client.connect()
    inspector.settle(clock)
    for path in data.draw(st.sets(st.sampled_from(sorted(file)))) if file else ():
        if inspector.stat(path) is None:
            inspector.create(path, file[path].encode())
    importing = Deferred.fromCoroutine(import_images(client, records(file)))
    inspector.settle(clock, limit=50_000)
    importing.addErrback(lambda failure: failure.raiseException())
    assert importing.called
    exporting = Deferred.fromCoroutine(export_images(client))
    inspector.settle(clock, limit=50_000)
    found: list[Any] = []
    exporting.addCallback(found.append)
    assert dict(found[0].records) == file
    for place, number in highest.items():
        path = inspector.create(f"{place}/", b"", sequence=True)
        assert int(path.rpartition("/")[2]) > number
