"""``export-image-data`` and ``import-image-data``: files and exit codes."""

from __future__ import annotations

import json
import os
import pathlib
import threading

from nodepool_tx.cli.outcome import ExitCode
from nodepool_tx.store import image_paths, paths
from tests.cli.image_stage import ImageTestCase

BUILD = paths.image_build("debian", "b1")


class DataTests(ImageTestCase):
    """Copies in files."""

    def setUp(self) -> None:
        super().setUp()
        self.file = self.config.parent / "images.json"
        self.add_build("debian", "b1")
        self.add_upload("debian", "b1", "sky")
        self.inspector.create(image_paths.pause("debian"))

    def export(self, path: pathlib.Path | None = None) -> None:
        run = self.run_to_end("export-image-data", str(path or self.file))
        self.assertEqual((run.code, run.stdout), (0, ""), run.stderr)
        self.assertIn("1 builds, 1 uploads, 1 pauses", run.stderr)

    def test_there_and_back(self) -> None:
        """Everything is there again after it was lost; doing it twice changes nothing."""
        before = self.inspector.dump(paths.IMAGES)
        self.export()
        self.inspector.delete_tree(paths.IMAGES)
        run = self.run_to_end("import-image-data", str(self.file))
        self.assertEqual(run.code, 0, run.stderr)
        self.assertIn("imported: 1 builds, 1 uploads, 1 pauses", run.stderr)
        self.assertNotIn("there already", run.stderr)
        self.assertEqual(self.inspector.dump(paths.IMAGES), before)
        run = self.run_to_end("import-image-data", str(self.file))
        self.assertEqual(run.code, 0, run.stderr)
        self.assertIn("imported: 0 builds, 0 uploads, 0 pauses", run.stderr)
        self.assertIn("there already: 1 builds, 1 uploads, 1 pauses", run.stderr)

    def test_the_file(self) -> None:
        """Is its owner's alone, also where there was a longer one that all could read."""
        self.file.write_text("x" * 100_000)
        self.file.chmod(0o644)
        self.export()
        self.assertEqual(self.file.stat().st_mode & 0o777, 0o600)
        self.assertEqual(len(json.loads(self.file.read_text())), 3)
        self.assertEqual(sorted(self.config.parent.glob(".nodepool*")), [])

    def test_a_link(self) -> None:
        """Stays one: what it points to is written."""
        link = self.config.parent / "link.json"
        link.symlink_to(self.file)
        self.export(link)
        self.assertTrue(link.is_symlink())
        self.assertEqual(len(json.loads(self.file.read_text())), 3)

    def test_a_pipe(self) -> None:
        """Gets the copy as it comes, and stays a pipe."""
        pipe = self.config.parent / "pipe"
        os.mkfifo(pipe)
        read: list[str] = []
        reader = threading.Thread(target=lambda: read.append(pipe.read_text()))
        reader.start()
        self.addCleanup(reader.join)
        self.export(pipe)
        reader.join()
        self.assertEqual(len(json.loads(read[0])), 3)
        self.assertTrue(pipe.is_fifo())

    def test_where_nothing_can_be_written(self) -> None:
        """It is said which file, and why."""
        run = self.run_to_end("export-image-data", str(self.file / "below"))
        self.assertEqual(run.code, 1)
        self.assertIn("cannot write", run.stderr)
        self.assertIn(str(self.file / "below"), run.stderr)

    def test_what_is_no_text(self) -> None:
        """Is left out and named; the rest is written."""
        self.inspector.set(BUILD, b"\xff")
        run = self.run_to_end("export-image-data", str(self.file))
        self.assertEqual(run.code, 1)
        self.assertIn(f"left out, as their data is no text: {BUILD}", run.stderr)
        self.assertEqual(len(json.loads(self.file.read_text())), 2)

    def test_garbage(self) -> None:
        """Is refused before anything is written, with what is wrong with it."""
        before = self.inspector.dump(paths.IMAGES)
        path = paths.image_build("alma", "b7")
        for content, reason in (
            ("{", "it is no JSON"),
            (json.dumps({path: '{"state": "ready"}', "/zuul/x": ""}), "'/zuul/x': this is not"),
            (json.dumps({path: "junk"}), f"{path!r}: not JSON"),
        ):
            self.file.write_text(content)
            run = self.run_to_end("import-image-data", str(self.file))
            self.assertEqual(run.code, ExitCode.USAGE)
            self.assertIn(f"{self.file} is no copy of image data, and nothing was", run.stderr)
            self.assertIn(reason, run.stderr)
            self.assertEqual(len(run.stderr.splitlines()), 1)
        self.assertEqual(self.inspector.dump(paths.IMAGES), before)

    def test_a_file_that_is_not_there(self) -> None:
        """Is named."""
        run = self.run_to_end("import-image-data", str(self.file))
        self.assertEqual(run.code, ExitCode.USAGE)
        self.assertIn(f"cannot read {self.file}: No such file", run.stderr)

    def test_what_is_different(self) -> None:
        """Stays as it is in ZooKeeper, and is named; the rest is imported."""
        self.export()
        self.inspector.delete_tree(image_paths.providers("debian", "b1"))
        other = b'{"state": "deleting", "state_time": 1}'
        self.inspector.set(BUILD, other)
        run = self.run_to_end("import-image-data", str(self.file))
        self.assertEqual(run.code, 1)
        self.assertIn(f"different in ZooKeeper, and left as it is there: {BUILD}", run.stderr)
        self.assertIn("imported: 0 builds, 1 uploads, 0 pauses", run.stderr)
        self.assertEqual(self.inspector.dump(BUILD)[BUILD], other)
