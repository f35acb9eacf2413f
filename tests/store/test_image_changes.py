"""Changes of images while builders work with them: locks, versions, broken connections."""

from __future__ import annotations

import json
from typing import Any

from kazoo.exceptions import ConnectionLoss
from twisted.internet.defer import Deferred

from nodepool_tx.model import ImageState
from nodepool_tx.store import image_paths, paths
from nodepool_tx.store.change import Locked, Moved, Uncertain, Vanished
from nodepool_tx.store.codec import Unreadable
from nodepool_tx.store.image_changes import AtWork, ImageChanges
from nodepool_tx.store.image_erasing import ProviderBuild, ProviderImages
from tests.store.harness import StoreTestCase

BUILD = paths.image_build("debian", "b1")
BUILD_LOCK = image_paths.build_lock("debian", "b1")
UPLOAD = paths.image_upload("debian", "b1", "sky", "0000000001")
UPLOAD_LOCK = image_paths.upload_lock("debian", "b1", "sky", "0000000001")
PROVIDER = image_paths.provider("debian", "b1", "sky")
CONTENDER = f"{'0' * 32}__lock__0000000000"


def record(state: str = "ready", **more: Any) -> bytes:
    return json.dumps({"state": state, "state_time": 5.0, **more}).encode()


class ImagesTestCase(StoreTestCase):
    """One build with one upload."""

    def setUp(self) -> None:
        super().setUp()
        self.inspector.create(BUILD, record())
        self.inspector.create(UPLOAD, record(external_id="x", later=[1]))
        self.settle()
        self.changes = ImageChanges(self.client, self.clock)

    def state(self, path: str) -> Any:
        return json.loads(self.inspector.dump(path)[path])["state"]


class MarkTests(ImagesTestCase):
    """What builders are to remove."""

    def delete_upload(self) -> Any:
        return self.changes.delete_upload("debian", "b1", "sky", "0000000001")

    def test_under_the_lock(self) -> None:
        """The write lands in a transaction with the lock, which is given up then."""
        seen: list[tuple[str, ...]] = []
        self.inspector.before("transaction", lambda call: seen.append(call.paths))
        upload = self.run_until_done(self.delete_upload())
        self.assertEqual((upload.state, upload.state_time), (ImageState.DELETING, 1000))
        self.assertEqual(dict(upload.extra), {"later": [1]})
        ((contender, written),) = seen
        self.assertTrue(contender.startswith(f"{UPLOAD_LOCK}/"), contender)
        self.assertEqual(written, UPLOAD)
        self.assertEqual(list(self.inspector.dump(UPLOAD_LOCK)), [UPLOAD_LOCK])

    def test_a_builder_writes_in_between(self) -> None:
        """What it wrote is kept, but for the state."""
        self.inspector.before(
            "transaction", lambda _: self.inspector.set(UPLOAD, record("failed", later=2)) and None
        )
        upload = self.run_until_done(self.delete_upload())
        self.assertEqual(dict(upload.extra), {"later": 2})
        self.assertEqual(self.state(UPLOAD), "deleting")

    def test_a_builder_begins_in_between(self) -> None:
        """Then it is at work, and nothing is changed."""
        self.inspector.before(
            "transaction", lambda _: self.inspector.set(UPLOAD, record("uploading")) and None
        )
        self.failure_of(self.delete_upload(), AtWork)
        self.assertEqual(self.state(UPLOAD), "uploading")
        self.assertEqual(list(self.inspector.dump(UPLOAD_LOCK)), [UPLOAD_LOCK])

    def test_a_builder_writes_all_the_time(self) -> None:
        """It is given up, and nothing of ours is written."""
        self.inspector.before(
            "transaction", lambda _: self.inspector.set(BUILD, record()) and None, times=None
        )
        self.failure_of(self.changes.delete_build("debian", "b1"), Moved)
        self.assertEqual(self.state(BUILD), "ready")

    def test_a_builder_removes_it_in_between(self) -> None:
        """It is gone, and nothing of it comes back."""
        self.inspector.before("transaction", lambda _: self.inspector.delete_tree(UPLOAD))
        failure = self.failure_of(self.delete_upload(), Locked, Vanished)
        self.assertIn("0000000001 of build debian-b1 to sky", str(failure))
        self.assertIsNone(self.inspector.stat(UPLOAD))

    def test_the_lock_is_lost(self) -> None:
        """Nothing is written without it."""

        def lose(call: Any) -> None:
            for path in list(self.inspector.dump(BUILD_LOCK)):
                if path != BUILD_LOCK:
                    self.inspector.delete(path)

        self.inspector.before("transaction", lose)
        self.failure_of(self.changes.delete_build("debian", "b1"), Locked)
        self.assertEqual(self.state(BUILD), "ready")

    def test_a_builder_has_the_lock(self) -> None:
        """It is waited for as long as patience lasts, and our place is given up then."""
        contender = self.inspector.create(f"{BUILD_LOCK}/{CONTENDER}")
        marking = Deferred.fromCoroutine(self.changes.delete_build("debian", "b1"))
        self.settle()
        self.assertNoResult(marking)
        self.clock.advance(5)
        self.settle()
        self.failureResultOf(marking, Locked)
        self.assertEqual(list(self.inspector.dump(BUILD_LOCK)), [BUILD_LOCK, contender])

    def test_the_connection_breaks(self) -> None:
        """It is not known what happened, and no lock of ours stays."""
        self.inspector.fail_next("transaction", ConnectionLoss())
        self.failure_of(self.changes.delete_build("debian", "b1"), Uncertain)
        self.settle()
        self.assertEqual(list(self.inspector.dump(BUILD_LOCK)), [BUILD_LOCK])
        self.assertEqual(self.state(BUILD), "ready")

    def test_the_connection_stays_away(self) -> None:
        """It is told in time, not when there is a connection again."""
        self.inspector.before("transaction", lambda _: self.inspector.suspend(self.client))
        marking = Deferred.fromCoroutine(self.changes.delete_build("debian", "b1"))
        self.settle()
        self.assertNoResult(marking)
        self.clock.advance(5)
        self.settle()
        self.failureResultOf(marking, Uncertain)
        self.inspector.resume(self.client)
        self.settle()
        self.assertEqual(list(self.inspector.dump(BUILD_LOCK)), [BUILD_LOCK])

    def test_no_sense(self) -> None:
        """What cannot be read is not written."""
        self.inspector.set(BUILD, b"junk")
        self.failure_of(self.changes.delete_build("debian", "b1"), Unreadable)
        self.assertEqual(self.inspector.dump(BUILD)[BUILD], b"junk")

    def test_flags_without_a_connection(self) -> None:
        """Setting or taking them off is uncertain then."""
        self.inspector.suspend(self.client)
        for change in (self.changes.pause, self.changes.unpause, self.changes.request_build):
            self.failure_of(change("debian"), Uncertain)


class EraseTests(ImagesTestCase):
    """What is forgotten of a provider."""

    def setUp(self) -> None:
        super().setUp()
        self.images = ProviderImages(self.client, "sky")
        self.build = ProviderBuild("debian", "b1", ("0000000001",))

    def test_what_there_is(self) -> None:
        """Every build with a place for the provider, also without uploads."""
        self.inspector.create(image_paths.uploads("alma", "b2", "sky"))
        self.inspector.create(paths.image_upload("alma", "b3", "skyline", "0000000001"), record())
        self.inspector.create(f"{image_paths.uploads_lock('debian', 'b1', 'sky')}")
        found = self.run_until_done(self.images.builds())
        self.assertEqual(found, (ProviderBuild("alma", "b2"), self.build))

    def test_all_of_a_build(self) -> None:
        """Its uploads and what was left of locks; nothing of others."""
        other = paths.image_upload("debian", "b1", "sea", "0000000001")
        self.inspector.create(other, record())
        self.inspector.create(UPLOAD_LOCK)
        self.inspector.create(image_paths.uploads_lock("debian", "b1", "sky"))
        self.assertEqual(self.run_until_done(self.images.erase(self.build)), 1)
        self.assertIsNone(self.inspector.stat(PROVIDER))
        self.assertIsNotNone(self.inspector.stat(other))
        self.assertIsNotNone(self.inspector.stat(BUILD))
        self.assertEqual(self.run_until_done(self.images.erase(self.build)), 0)

    def test_somebody_at_work(self) -> None:
        """All of it stays."""
        for lock in (UPLOAD_LOCK, image_paths.uploads_lock("debian", "b1", "sky")):
            contender = self.inspector.create(f"{lock}/{CONTENDER}")
            before = self.inspector.dump(PROVIDER)
            self.failure_of(self.images.erase(self.build), Locked)
            self.assertEqual(self.inspector.dump(PROVIDER), before)
            self.inspector.delete(contender)

    def test_somebody_begins_in_between(self) -> None:
        """Then all of it stays, too."""
        path = f"{UPLOAD_LOCK}/{CONTENDER}"
        self.inspector.before("transaction", lambda _: self.inspector.create(path) and None)
        self.failure_of(self.images.erase(self.build), Locked)
        self.assertEqual(self.state(UPLOAD), "ready")

    def test_one_more_in_between(self) -> None:
        """It goes with the others."""
        more = paths.image_upload("debian", "b1", "sky", "0000000002")
        self.inspector.before(
            "transaction", lambda _: self.inspector.create(more, record()) and None
        )
        self.assertEqual(self.run_until_done(self.images.erase(self.build)), 2)
        self.assertIsNone(self.inspector.stat(PROVIDER))

    def test_somebody_writes_all_the_time(self) -> None:
        """It is given up."""
        self.inspector.before(
            "transaction", lambda _: self.inspector.set(UPLOAD, record()) and None, times=None
        )
        self.failure_of(self.images.erase(self.build), Moved)
        self.assertEqual(self.state(UPLOAD), "ready")

    def test_the_connection_breaks(self) -> None:
        """It is not known what happened."""
        self.inspector.fail_next("transaction", ConnectionLoss())
        self.failure_of(self.images.erase(self.build), Uncertain)
        self.inspector.suspend(self.client)
        self.failure_of(self.images.builds(), Uncertain)
