"""Disk images as builders write them: read, indexed and followed."""

from __future__ import annotations

import json
from typing import Any

import attrs
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from twisted.internet.task import Clock

from nodepool_tx.model import ImageBuild, ImageState, ImageUpload
from nodepool_tx.store import paths
from nodepool_tx.store.codec import (
    Unreadable,
    decode_image_build,
    decode_image_upload,
    encode_image_build,
    encode_image_upload,
)
from nodepool_tx.store.images import ImageChange, has_image_data
from nodepool_tx.store.store import Store
from nodepool_tx.testing.zookeeper import MemoryZookeeper
from tests.store.harness import StoreTestCase

#: What Nodepool 11's builder writes.
BUILD: dict[str, Any] = {
    "state": "ready",
    "state_time": 1700000000.5,
    "builder": "nb01.example.org",
    "builder_id": "4b9b4f9c",
    "formats": "qcow2,raw",
    "username": "zuul",
    "python_path": "auto",
    "shell_type": None,
}
UPLOAD: dict[str, Any] = {
    "state": "ready",
    "state_time": 1700000100.25,
    "external_id": "7f6d3a3e",
    "external_name": "debian-1700000000",
    "format": "qcow2",
    "username": "zuul",
    "python_path": "/usr/bin/python3",
    "shell_type": "sh",
}


def upload(**changes: Any) -> ImageUpload:
    """A ready upload of debian to the cloud "sky"."""
    known = decode_image_upload("debian", "b1", "sky", "0000000001", as_bytes(UPLOAD))
    return attrs.evolve(known, **changes)


def as_bytes(value: object) -> bytes:
    return json.dumps(value).encode()


class TestRecords:
    """The JSON."""

    def test_reading_and_writing_changes_nothing(self) -> None:
        """Every key comes back as it was, and no other; unknown ones too."""
        for extra in ({}, {"later": [1]}):
            build, copy = {**BUILD, **extra}, {**UPLOAD, **extra}
            read = decode_image_build("debian", "b1", as_bytes(build))
            assert json.loads(encode_image_build(read)) == build
            there = decode_image_upload("debian", "b1", "sky", "1", as_bytes(copy))
            assert json.loads(encode_image_upload(there)) == copy

    def test_the_fields(self) -> None:
        """Formats become a tuple; what the path says is part of the value."""
        build = decode_image_build("debian", "b1", as_bytes(BUILD), version=3, mzxid=9)
        assert (build.image, build.id, build.version, build.mzxid) == ("debian", "b1", 3, 9)
        assert (build.state, build.formats) == (ImageState.READY, ("qcow2", "raw"))
        there = upload()
        assert (there.image, there.build_id, there.provider) == ("debian", "b1", "sky")
        assert (there.external_id, there.format) == ("7f6d3a3e", "qcow2")
        assert (there.username, there.python_path) == ("zuul", "/usr/bin/python3")

    def test_what_is_missing(self) -> None:
        """Old records say less, and get that version's defaults."""
        build = decode_image_build("debian", "b1", b'{"state": "building", "state_time": 5}')
        assert (build.username, build.python_path) == ("zuul", "/usr/bin/python2")
        assert (build.builder, build.formats) == (None, ())
        there = decode_image_upload("debian", "b1", "sky", "1", b'{"state": "uploading"}')
        assert (there.username, there.python_path) == ("zuul", "/usr/bin/python2")
        assert (there.external_id, there.shell_type) == (None, None)

    def test_a_build_that_has_just_begun_is_written_short(self) -> None:
        """What is not known of it is left out, as the builder does."""
        written = json.loads(encode_image_build(ImageBuild(state=ImageState.BUILDING)))
        assert set(written) == set(BUILD) - {"builder", "builder_id", "formats"}

    @pytest.mark.parametrize("state", ["uploading", "in-use", None, 5, ["ready"]])
    def test_states_of_a_build(self, state: object) -> None:
        """A state that builds do not have is not understood."""
        with pytest.raises(Unreadable, match="unknown state"):
            decode_image_build("debian", "b1", as_bytes({**BUILD, "state": state}))

    @pytest.mark.parametrize("state", ["building", "in-use", None, 5, {}])
    def test_states_of_an_upload(self, state: object) -> None:
        """A state that uploads do not have is not understood."""
        with pytest.raises(Unreadable, match="unknown state"):
            decode_image_upload("debian", "b1", "sky", "1", as_bytes({**UPLOAD, "state": state}))


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=5,
)


@given(
    st.binary(max_size=20)
    | st.dictionaries(st.sampled_from([*BUILD, *UPLOAD, "x"]), json_values).map(as_bytes)
    | st.dictionaries(st.sampled_from([*BUILD, *UPLOAD]), json_values).map(
        lambda some: as_bytes({**UPLOAD, **BUILD, **some})
    )
)
@settings(deadline=None)
def test_garbage_is_unreadable_and_nothing_worse(data: bytes) -> None:
    """Whatever lies there, it is read or refused; what is read can be compared and written."""
    try:
        build = decode_image_build("debian", "b1", data)
        assert decode_image_build("debian", "b1", encode_image_build(build)).state is build.state
        assert build.state_time < 1e301
    except Unreadable:
        pass
    try:
        there = decode_image_upload("debian", "b1", "sky", "1", data)
        again = decode_image_upload("debian", "b1", "sky", "1", encode_image_upload(there))
        assert again.state_time == there.state_time
    except Unreadable:
        pass


class ImageTableTests(StoreTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.images = self.store.images
        self.heard: list[ImageChange] = []
        self.unsubscribe = self.images.subscribe(self.heard.append)

    def put(self, there: ImageUpload) -> ImageUpload:
        path = paths.image_upload(there.image, there.build_id, there.provider, there.id)
        data = encode_image_upload(there)
        if self.inspector.stat(path):
            self.inspector.set(path, data)
        else:
            self.inspector.create(path, data)
        self.settle()
        return there

    def remove(self, there: ImageUpload) -> None:
        path = paths.image_upload(there.image, there.build_id, there.provider, there.id)
        self.inspector.delete_tree(path)
        self.settle()

    def test_the_newest(self) -> None:
        """Of several uploads that are ready the one that became so last."""
        self.assertIsNone(self.images.newest("debian", "sky"))
        first = self.put(upload(state_time=10.0))
        self.assertEqual(self.images.newest("debian", "sky"), first)
        second = self.put(upload(build_id="b2", state_time=20.0))
        self.put(upload(id="0000000002", state_time=15.0))
        self.assertEqual(self.images.newest("debian", "sky"), second)
        self.assertIsNone(self.images.newest("debian", "sea"))
        self.assertIsNone(self.images.newest("fedora", "sky"))

    def test_uploads_that_cannot_be_used(self) -> None:
        """One on its way in or out, or that failed, is no image; the one before is."""
        ready = self.put(upload(state_time=10.0))
        newer = upload(build_id="b2", state_time=20.0)
        for state in (ImageState.UPLOADING, ImageState.FAILED, ImageState.DELETING):
            self.put(attrs.evolve(newer, state=state))
            self.assertEqual(self.images.newest("debian", "sky"), ready)
        self.put(newer)
        self.assertEqual(self.images.newest("debian", "sky"), newer)
        self.put(attrs.evolve(newer, state=ImageState.DELETING, state_time=30.0))
        self.assertEqual(self.images.newest("debian", "sky"), ready)
        self.remove(newer)
        self.remove(ready)
        self.assertIsNone(self.images.newest("debian", "sky"))
        self.assertEqual(self.images.uploads_of("sky"), ())

    def test_the_newest_grows_older(self) -> None:
        """A record that is written again with an earlier time gives way."""
        first = self.put(upload(state_time=10.0))
        second = self.put(upload(build_id="b2", state_time=20.0))
        self.put(attrs.evolve(second, state_time=5.0))
        self.assertEqual(self.images.newest("debian", "sky"), first)

    def test_uploads_of_a_provider(self) -> None:
        """All of them, of every image, in every state, with what tells them apart."""
        uploads = [
            self.put(upload()),
            self.put(upload(id="0000000002", state=ImageState.FAILED)),
            self.put(upload(image="fedora", build_id="f1", state=ImageState.DELETING)),
        ]
        self.put(upload(provider="sea"))
        self.assertCountEqual(self.images.uploads_of("sky"), uploads)
        ids = {("b1", "0000000001"), ("b1", "0000000002"), ("f1", "0000000001")}
        self.assertEqual(self.images.upload_ids("sky"), ids)

    def test_builds(self) -> None:
        """They are known too, with what is read of them."""
        path = paths.image_build("debian", "b1")
        self.inspector.create(path, as_bytes(BUILD))
        self.settle()
        (build,) = self.images.builds()
        self.assertEqual(build, self.images.build("debian", "b1"))
        self.assertEqual((build.builder, build.formats), ("nb01.example.org", ("qcow2", "raw")))
        self.inspector.delete_tree(path)
        self.settle()
        self.assertEqual(self.images.builds(), ())
        self.assertEqual(
            [(c.provider, c.before, c.after) for c in self.heard],
            [(None, None, build), (None, build, None)],
        )

    def test_what_is_no_record_is_not_read(self) -> None:
        """Locks, flags and the directories between them tell nobody anything."""
        debian = f"{paths.IMAGES}/debian"
        below = f"{debian}/builds/b1/providers/sky/images"
        for path in (
            *(f"{debian}/pause", f"{debian}/lock"),
            *(f"{debian}/builds/lock", f"{debian}/builds/lock/x__lock__0000000000"),
            *(f"{below}/lock", f"{below}/lock/x__lock__0000000000"),
        ):
            self.assertFalse(has_image_data(path), path)
            self.inspector.create(path, b"junk")
        self.put(upload())
        lock = paths.image_upload("debian", "b1", "sky", "0000000001") + "/lock/x__lock__0000000000"
        self.inspector.create(lock, b"junk")
        self.settle()
        self.assertEqual([change.after for change in self.heard if change.provider], [upload()])
        # The build's own znode was made without data, as the parent of the others.
        self.assertEqual(set(self.images.unreadable), {paths.image_build("debian", "b1")})
        self.assertEqual(self.images.builds(), ())

    def test_flags(self) -> None:
        """Which images there are, paused, asked for since when, and being built."""
        flags = self.images.flags
        self.assertEqual(flags.names(), ())
        debian = f"{paths.IMAGES}/debian"
        self.inspector.create(f"{debian}/pause")
        self.clock.advance(5)
        self.inspector.create(f"{debian}/request-build")
        self.inspector.create(f"{paths.IMAGES}/alma")
        self.settle()
        self.assertEqual(flags.names(), ("alma", "debian"))
        self.assertEqual([flags.is_known(name) for name in ("alma", "fedora")], [True, False])
        self.assertEqual([flags.is_paused(name) for name in ("alma", "debian")], [False, True])
        request = flags.request("debian")
        assert request is not None
        self.assertEqual((request.image, request.since), ("debian", self.clock.seconds()))
        self.assertIsNone(flags.request("alma"))
        self.inspector.delete_tree(f"{debian}/request-build")
        self.inspector.delete_tree(f"{debian}/pause")
        self.settle()
        self.assertIsNone(flags.request("debian"))
        self.assertFalse(flags.is_paused("debian"))

    def test_being_built(self) -> None:
        """That is: locked by a builder, and a build of it is under way."""
        path = paths.image_build("debian", "b1")
        self.assertFalse(self.images.is_being_built("debian"))
        self.inspector.create(path, as_bytes({**BUILD, "state": "building"}))
        self.settle()
        self.assertFalse(self.images.is_being_built("debian"))
        self.inspector.create(f"{paths.IMAGES}/debian/builds/lock/{'0' * 32}__lock__0000000000")
        self.settle()
        self.assertTrue(self.images.is_being_built("debian"))
        self.inspector.set(path, as_bytes(BUILD))
        self.settle()
        self.assertFalse(self.images.is_being_built("debian"))
        self.assertTrue(self.images.flags.is_locked("debian"))

    def test_garbage(self) -> None:
        """It is no image, but still there: what is in the cloud for it is not leaked."""
        known = self.put(upload())
        path = paths.image_upload("debian", "b1", "sky", known.id)
        for junk in (b"junk", b"", b"[]", b'{"state": "ready", "state_time": "now"}'):
            self.inspector.set(path, junk)
            self.settle()
            self.assertIsNone(self.images.newest("debian", "sky"))
            self.assertEqual(self.images.uploads_of("sky"), ())
            self.assertEqual(self.images.upload_ids("sky"), {("b1", known.id)})
            self.assertIn(path, self.images.unreadable)
        self.put(known)
        self.assertNotIn(path, self.images.unreadable)
        self.assertEqual(self.images.newest("debian", "sky"), known)
        self.inspector.set(path, b"junk")
        self.settle()
        self.remove(known)
        self.assertNotIn(path, self.images.unreadable)
        self.assertEqual(self.images.upload_ids("sky"), frozenset())

    def test_what_is_heard(self) -> None:
        """Each change once, when the table shows it; nothing after unsubscribing."""
        seen: list[ImageUpload | None] = []
        self.images.subscribe(lambda change: seen.append(self.images.newest("debian", "sky")))
        known = self.put(upload())
        later = self.put(attrs.evolve(known, state=ImageState.DELETING))
        self.remove(known)
        self.assertEqual(
            [(c.image, c.provider, c.before, c.after) for c in self.heard],
            [
                ("debian", "sky", None, known),
                ("debian", "sky", known, later),
                ("debian", "sky", later, None),
            ],
        )
        self.assertEqual(seen, [known, None, None])
        self.unsubscribe()
        self.put(known)
        self.assertEqual(len(self.heard), 3)

    def test_an_observer_that_fails_hurts_nobody(self) -> None:
        """Not the table, and not the observers after it."""

        def broken(change: ImageChange) -> None:
            raise ZeroDivisionError

        self.unsubscribe()
        self.images.subscribe(broken)
        self.images.subscribe(self.heard.append)
        self.put(upload())
        self.assertEqual(len(self.heard), 1)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_the_store_is_current_with_its_images(self) -> None:
        """It waits for them, when it starts and for a barrier."""
        self.inspector.cut(self.client)
        self.assertFalse(self.store.current)
        path = paths.image_upload("debian", "b1", "sky", "0000000001")
        self.inspector.create(path, encode_image_upload(upload()))
        self.run_until_done(self.store.barrier())
        self.assertTrue(self.store.current)
        self.assertEqual(self.images.newest("debian", "sky"), upload())


IMAGES = ("debian", "fedora")
PROVIDERS = ("sky", "sea")
steps = st.tuples(
    st.sampled_from(("write", "write", "write", "rubbish", "remove", "drop", "settle", "cut")),
    st.tuples(
        st.sampled_from(IMAGES),
        st.sampled_from(("b1", "b2")),
        st.sampled_from(PROVIDERS),
        st.sampled_from(("1", "2", "lock")),
    ),
    st.sampled_from((ImageState.READY, ImageState.READY, ImageState.DELETING)),
    st.integers(0, 3),
)


@given(st.lists(steps, max_size=40))
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_the_table_agrees_with_zookeeper(
    schedule: list[tuple[str, tuple[str, str, str, str], ImageState, int]],
) -> None:
    """Whatever happens, with the connection breaking in between."""
    clock = Clock()
    zookeeper = MemoryZookeeper(clock)
    inspector, client = zookeeper.inspector, zookeeper.client()
    store = Store(client, clock)
    store.startService()
    client.connect()
    inspector.settle(clock)
    heard: dict[tuple[str, ...], object] = {}

    def hear(change: ImageChange) -> None:
        record = change.after or change.before
        if isinstance(record, ImageUpload):
            key = (record.image, record.build_id, record.provider, record.id)
            assert change.before == heard.get(key)
            heard[key] = change.after

    store.images.subscribe(hear)

    def compare() -> None:
        expected: dict[tuple[str, ...], ImageUpload] = {}
        ids: set[tuple[str, str, str]] = set()
        for path, data in inspector.dump(paths.IMAGES + "/").items():
            parts = path.removeprefix(paths.IMAGES + "/").split("/")
            if len(parts) == 7 and parts[6] != "lock":
                image, _, build_id, _, provider, _, upload_id = parts
                ids.add((provider, build_id, upload_id))
                try:
                    read = decode_image_upload(image, build_id, provider, upload_id, data)
                except Unreadable:
                    continue
                expected[image, build_id, provider, upload_id] = read
        assert {key: each for key, each in heard.items() if each is not None} == expected
        for provider in PROVIDERS:
            there = store.images.uploads_of(provider)
            assert {(u.image, u.build_id, u.provider, u.id): u for u in there} == {
                key: each for key, each in expected.items() if each.provider == provider
            }
            assert store.images.upload_ids(provider) == {
                key[1:] for key in ids if key[0] == provider
            }
            for image in IMAGES:
                usable = [
                    each for each in there if each.image == image and each.state is ImageState.READY
                ]
                newest = store.images.newest(image, provider)
                assert newest == max(
                    usable, key=lambda u: (u.state_time, u.build_id, u.id), default=None
                )

    for kind, (image, build_id, provider, upload_id), state, when in schedule:
        path = paths.image_upload(image, build_id, provider, upload_id)
        if kind in ("write", "rubbish"):
            data = encode_image_upload(upload(state=state, state_time=float(when)))
            data = b"x" if kind == "rubbish" else data
            inspector.set(path, data) if inspector.stat(path) else inspector.create(path, data)
        elif kind == "remove":
            inspector.delete_tree(path)
        elif kind == "drop":
            inspector.delete_tree(paths.image_build(image, build_id))
        elif kind == "settle":
            inspector.settle(clock)
            compare()
        elif kind == "cut":
            inspector.cut(client)
    inspector.settle(clock)
    compare()
    store.stopService()
    client.close()
    inspector.settle(clock)
