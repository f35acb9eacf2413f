"""The verbs about images: lists, wishes, and what builders are to remove."""

from __future__ import annotations

import json
from typing import Any

from nodepool_tx.cli.outcome import ExitCode
from nodepool_tx.store import image_paths, paths
from nodepool_tx.store.codec import decode_image_build, decode_image_upload
from tests.cli.image_stage import ImageTestCase
from tests.cli.stage import Run

CONTENDER = f"{'0' * 32}__lock__0000000000"


class ListTests(ImageTestCase):
    """``dib-image-list``, ``image-list`` and ``image-status``."""

    def test_nothing(self) -> None:
        """Without images there are headers, and no rows."""
        for verb in ("dib-image-list", "image-list", "image-status"):
            run = self.run_to_end(verb)
            self.assertEqual((run.code, len(run.stdout.splitlines())), (0, 4))
            self.assertEqual(self.rows(self.run_to_end(verb, "--format", "json")), [])

    def test_builds(self) -> None:
        """Nodepool 11's columns; those of a paused image are paused."""
        self.add_build("debian", "b1", state_time=self.clock.seconds() - 90)
        self.add_build("alma", "b2", "building", builder=None, formats=())
        self.inspector.create(image_paths.pause("alma"))
        self.settle()
        alma, debian = self.rows(self.run_to_end("dib-image-list", "--format", "json"))
        self.assertEqual(
            (debian["id"], debian["image"], debian["builder"], debian["formats"]),
            ("debian-b1", "debian", "nb01", ["qcow2", "raw"]),
        )
        self.assertEqual((debian["state"], debian["age"]), ("ready", 90))
        self.assertEqual((alma["id"], alma["state"]), ("alma-b2", "paused"))
        table = self.run_to_end("dib-image-list").stdout
        self.assertIn("| ID        | Image  | Builder | Formats   | State  | Age", table)
        self.assertIn("| debian-b1 | debian | nb01    | qcow2,raw | ready  | 00:00:01:30 |", table)

    def test_uploads(self) -> None:
        """Nodepool 11's columns."""
        self.add_build("debian", "b1")
        self.add_upload("debian", "b1", "sky")
        table = self.run_to_end("image-list").stdout
        for header in ("Build ID", "Upload ID", "Provider Image Name", "Provider Image ID"):
            self.assertIn(f"| {header} ", table)
        (row,) = self.rows(self.run_to_end("image-list", "--format", "json"))
        self.assertEqual(
            (row["id"], row["upload_id"], row["provider"], row["image"], row["state"]),
            ("b1", "0000000000", "sky", "debian", "ready"),
        )
        self.assertEqual((row["external_id"], row["external_name"]), ("cloud-1", "debian-170"))

    def test_statuses(self) -> None:
        """Paused or not, and whether what was asked for is under way."""
        self.add_build("alma", "b1")
        self.add_build("debian", "b2", "building")
        self.inspector.create(image_paths.build_request("debian"))
        self.inspector.create(image_paths.build_request("fedora"))
        self.inspector.create(f"{image_paths.builds_lock('debian')}/{CONTENDER}")
        self.inspector.create(image_paths.pause("fedora"))
        self.pass_time(90)
        rows = self.rows(self.run_to_end("image-status", "--format", "json"))
        shown = [
            (row["image"], row["paused"], row["build_request"], row["build_request_age"])
            for row in rows
        ]
        self.assertEqual(
            shown,
            [
                ("alma", False, None, None),
                ("debian", False, "building", 90),
                ("fedora", True, "pending", 90),
            ],
        )

    def test_following(self) -> None:
        """A pause, a request, a build and its lock each show at once."""
        run = self.start("image-status", "--watch", "--format", "json")
        self.inspector.create(image_paths.build_request("debian"))
        self.pass_time(2)
        self.inspector.create(image_paths.pause("debian"))
        self.pass_time(2)
        self.inspector.create(f"{image_paths.builds_lock('debian')}/{CONTENDER}")
        self.add_build("debian", "b1", "building")
        self.pass_time(2)
        self.interrupt(run)
        seen = [json.loads(line) for line in run.stdout.splitlines()]
        shown = [[(row["paused"], row["build_request"]) for row in rows] for rows in seen]
        self.assertEqual(
            shown, [[], [(False, "pending")], [(True, "pending")], [(True, "building")]]
        )

    def test_csv(self) -> None:
        """A header of keys, and a line for each."""
        self.add_build("debian", "b1")
        run = self.run_to_end("dib-image-list", "--format", "csv")
        header, line = run.stdout.splitlines()
        self.assertTrue(header.startswith("id,image,builder,formats,state,age"))
        self.assertTrue(line.startswith('debian-b1,debian,nb01,"qcow2,raw",ready,0'), line)


class WishTests(ImageTestCase):
    """``image-build``, ``image-pause`` and ``image-unpause``."""

    def test_a_build_is_asked_for(self) -> None:
        """The request is there for every builder, and shown."""
        run = self.run_to_end("image-build", "debian", "--format", "json")
        self.assertEqual(run.code, 0)
        self.assertTrue(self.exists(image_paths.build_request("debian")))
        (row,) = self.rows(run)
        self.assertEqual((row["image"], row["build_request"]), ("debian", "pending"))

    def test_asking_again(self) -> None:
        """Is fine, and said; the first request stays."""
        self.run_to_end("image-build", "debian")
        before = self.inspector.stat(image_paths.build_request("debian"))
        run = self.run_to_end("image-build", "debian")
        self.assertEqual(run.code, 0)
        self.assertIn("was asked for already", run.stderr)
        self.assertEqual(self.inspector.stat(image_paths.build_request("debian")), before)

    def test_an_image_that_is_not_configured(self) -> None:
        """Is not asked for: nobody would build it.  Neither is what others inherit from."""
        for name in ("debain", "base"):
            run = self.run_to_end("image-build", name)
            self.assertEqual(run.code, 1)
            self.assertIn(f"there is no disk image {name} in the configuration", run.stderr)
            self.assertIn("alma, debian", run.stderr)
            self.assertFalse(self.exists(image_paths.image(name)))

    def test_an_image_paused_in_the_configuration(self) -> None:
        """Is not asked for."""
        run = self.run_to_end("image-build", "alma")
        self.assertEqual(run.code, 1)
        self.assertIn("paused in the configuration", run.stderr)
        self.assertFalse(self.exists(image_paths.image("alma")))

    def test_a_paused_image(self) -> None:
        """Is asked for, and built when it is no longer paused: that is said."""
        self.run_to_end("image-pause", "debian")
        run = self.run_to_end("image-build", "debian")
        self.assertEqual(run.code, 0)
        self.assertIn("it waits for: nodepool image-unpause debian", run.stderr)

    def test_pausing(self) -> None:
        """The flag is set once and taken off once; again is fine and said."""
        flag = image_paths.pause("debian")
        self.assertEqual(self.run_to_end("image-pause", "debian").code, 0)
        self.assertEqual(self.inspector.dump(flag), {flag: b""})
        again = self.run_to_end("image-pause", "debian")
        self.assertEqual(again.code, 0)
        self.assertIn("was paused already", again.stderr)
        run = self.run_to_end("image-unpause", "debian", "--format", "json")
        self.assertEqual((run.code, self.rows(run)[0]["paused"]), (0, False))
        self.assertFalse(self.exists(flag))
        again = self.run_to_end("image-unpause", "debian")
        self.assertEqual(again.code, 0)
        self.assertIn("was not paused", again.stderr)

    def test_pausing_what_nobody_knows(self) -> None:
        """Is a typing mistake; an image that was only ever built is known."""
        for verb in ("image-pause", "image-unpause"):
            run = self.run_to_end(verb, "debain")
            self.assertEqual(run.code, 1)
            self.assertIn("there is no image debain: there is alma, debian", run.stderr)
        self.assertFalse(self.exists(image_paths.image("debain")))
        self.add_build("old", "b1")
        self.assertEqual(self.run_to_end("image-pause", "old").code, 0)

    def test_unpausing_an_image_paused_in_the_configuration(self) -> None:
        """Does not help, which is said."""
        self.add_build("alma", "b1")
        run = self.run_to_end("image-unpause", "alma")
        self.assertIn("still paused in the configuration", run.stderr)


class DeleteTests(ImageTestCase):
    """``image-delete`` and ``dib-image-delete``."""

    def setUp(self) -> None:
        super().setUp()
        self.add_build("debian-12", "b1", later="kept")
        self.upload = self.add_upload("debian-12", "b1", "sky", later="kept")

    def delete_upload(self, **changes: str) -> Run:
        words = {"provider": "sky", "image": "debian-12", "build-id": "b1", "upload-id": "0"}
        given = {**words, "upload-id": self.upload, **changes}
        options = [word for key, value in given.items() for word in (f"--{key}", value)]
        return self.start("image-delete", *options, "--format", "json")

    def data(self, path: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.inspector.dump(path)[path])
        return found

    def test_an_upload(self) -> None:
        """Is marked for the builders, now; all else of it stays as it is."""
        path = paths.image_upload("debian-12", "b1", "sky", self.upload)
        before = self.data(path)
        self.clock.advance(100)
        run = self.delete_upload()
        self.assertEqual(run.code, 0)
        after = self.data(path)
        now = self.clock.seconds()
        self.assertEqual(after, {**before, "state": "deleting", "state_time": now})
        self.assertEqual((self.rows(run)[0]["state"], self.rows(run)[0]["age"]), ("deleting", 0))
        decode_image_upload("debian-12", "b1", "sky", self.upload, json.dumps(after).encode())
        # Nobody holds its lock any more.
        lock = image_paths.upload_lock("debian-12", "b1", "sky", self.upload)
        self.assertEqual(list(self.inspector.dump(lock)), [lock])

    def test_a_build(self) -> None:
        """Is marked for the builders; its uploads are their business."""
        path = paths.image_build("debian-12", "b1")
        before = self.data(path)
        run = self.run_to_end("dib-image-delete", "debian-12-b1", "--format", "json")
        self.assertEqual((run.code, self.rows(run)[0]["state"]), (0, "deleting"))
        after = self.data(path)
        self.assertEqual(after, {**before, "state": "deleting", "state_time": after["state_time"]})
        decode_image_build("debian-12", "b1", json.dumps(after).encode())
        upload = paths.image_upload("debian-12", "b1", "sky", self.upload)
        self.assertEqual(self.data(upload)["state"], "ready")

    def test_what_is_marked_already(self) -> None:
        """Stays as it is, with its time."""
        self.run_to_end("dib-image-delete", "debian-12-b1")
        before = self.inspector.stat(paths.image_build("debian-12", "b1"))
        self.clock.advance(100)
        run = self.run_to_end("dib-image-delete", "debian-12-b1", "--format", "json")
        self.assertEqual((run.code, self.rows(run)[0]["age"]), (0, 100))
        after = self.inspector.stat(paths.image_build("debian-12", "b1"))
        assert before is not None
        assert after is not None
        self.assertEqual(after.version, before.version)

    def test_what_is_being_made(self) -> None:
        """Stays: the builder would only write over it."""
        self.add_build("debian-12", "b2", "building")
        run = self.run_to_end("dib-image-delete", "debian-12-b2")
        self.assertEqual(run.code, 1)
        self.assertIn("build debian-12-b2 is still being made", run.stderr)
        self.upload = self.add_upload("debian-12", "b1", "sky", "uploading")
        run = self.delete_upload()
        self.assertEqual(run.code, 1)
        self.assertIn(f"upload {self.upload} of build debian-12-b1 to provider sky", run.stderr)
        path = paths.image_upload("debian-12", "b1", "sky", self.upload)
        self.assertEqual(list(self.inspector.dump(path)), [path])

    def test_what_is_not_there(self) -> None:
        """Is named, with what lists those that are; nothing is left behind."""
        before = self.inspector.dump(paths.IMAGES)
        for change in (
            {"image": "fedora"},
            {"build-id": "b9"},
            {"provider": "sea"},
            {"upload-id": "0000000009"},
        ):
            run = self.delete_upload(**change)
            self.assertEqual(run.code, 1)
            self.assertIn("there is no upload", run.stderr)
            self.assertIn(next(iter(change.values())), run.stderr)
            self.assertIn("nodepool image-list shows all", run.stderr)
        run = self.run_to_end("dib-image-delete", "debian-12-b9")
        self.assertEqual(run.code, 1)
        self.assertIn("there is no build debian-12-b9; nodepool dib-image-list", run.stderr)
        self.assertEqual(self.inspector.dump(paths.IMAGES), before)

    def test_what_is_no_id(self) -> None:
        """Is a wrong argument."""
        for word in ("debian", "debian-", ""):
            run = self.run_to_end("dib-image-delete", word)
            self.assertEqual(run.code, ExitCode.USAGE)

    def test_what_is_no_name(self) -> None:
        """Is nowhere to be found, and leads to no other place."""
        self.run_to_end("image-list")
        before = self.inspector.dump("/")
        for name in ("..", "../nodes", "debian-12/builds/b1", ".", "a\x01"):
            for run in (
                self.run_to_end("image-pause", name),
                self.run_to_end("dib-image-delete", f"{name}-b1"),
                self.run_to_end("dib-image-delete", f"debian-12-{name}"),
                self.delete_upload(image=name),
                self.delete_upload(provider=name),
            ):
                self.assertEqual(run.code, 1)
                self.assertIn("there is no", run.stderr)
        self.assertEqual(self.inspector.dump("/"), before)

    def test_what_a_builder_works_with(self) -> None:
        """Is waited for a while, and then left to it."""
        lock = image_paths.upload_lock("debian-12", "b1", "sky", self.upload)
        contender = self.inspector.create(f"{lock}/{CONTENDER}")
        run = self.delete_upload()
        self.assertIsNone(run.code)
        self.pass_time(6)
        self.assertEqual(run.code, 1)
        self.assertIn("a builder is at it; try again", run.stderr)
        self.assertEqual(list(self.inspector.dump(lock)), [lock, contender])
        run = self.delete_upload()
        self.inspector.delete_tree(contender)
        self.settle()
        self.assertEqual(run.code, 0)

    def test_what_makes_no_sense(self) -> None:
        """Is left as it is, and shown why."""
        path = paths.image_build("debian-12", "b1")
        self.inspector.set(path, b"junk")
        run = self.run_to_end("dib-image-delete", "debian-12-b1")
        self.assertEqual(run.code, 1)
        self.assertIn("build debian-12-b1 is unreadable", run.stderr)
        self.assertEqual(self.inspector.dump(path)[path], b"junk")
