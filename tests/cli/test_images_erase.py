"""``erase``: asked first, told how much, and nothing taken out of anybody's hands."""

from __future__ import annotations

from typing import Any

from kazoo.exceptions import ConnectionLoss
from twisted.internet.defer import Deferred

from nodepool_tx.cli.outcome import ExitCode
from nodepool_tx.store import image_paths, paths
from tests.cli.image_stage import ImageTestCase
from tests.cli.stage import Run

CONTENDER = f"{'0' * 32}__lock__0000000000"


class EraseTests(ImageTestCase):
    """A provider with uploads and nodes, and another."""

    def setUp(self) -> None:
        super().setUp()
        for build in ("b1", "b2"):
            self.add_build("debian", build)
            self.add_upload("debian", build, "sky")
        self.add_upload("debian", "b2", "sky")
        self.add_upload("debian", "b1", "sea")
        self.ready = self.add_node("ready", provider="sky")
        self.held = self.add_node("hold", provider="sky")
        self.other = self.add_node("ready", provider="dc")

    def erase(self, *words: str, answer: str | None = None, **more: Any) -> Run:
        """``answer`` is typed when it is asked for."""
        self.typed = Deferred()
        if answer is not None:
            self.typed.callback(answer)
        return self.start("erase", *words, **more)

    def left(self) -> tuple[int, int]:
        """How many uploads and nodes of the provider there are."""
        places = map(image_paths.place_of, self.inspector.dump(paths.IMAGES))
        uploads = [place for place in places if place and place.provider == "sky"]
        nodes = [self.node(node_id) for node_id in (self.ready, self.held)]
        return len(uploads), sum(node is not None for node in nodes)

    def test_without_asking(self) -> None:
        """All of the provider is gone, and of the other nothing."""
        run = self.erase("sky", "--force")
        self.assertEqual(run.code, 0, run.stderr)
        self.assertEqual(run.stdout, "erased of provider sky: 3 uploads of 2 builds, 2 nodes\n")
        self.assertIn("3 uploads of 2 builds, 2 nodes (1 hold, 1 ready)", run.stderr)
        self.assertEqual(self.left(), (0, 0))
        self.assertIsNotNone(self.node(self.other))
        other = paths.image_upload("debian", "b1", "sea", "0000000000")
        self.assertTrue(self.exists(other))
        self.assertTrue(self.exists(paths.image_build("debian", "b2")))

    def test_again(self) -> None:
        """There is nothing left to erase, which is no mistake."""
        self.erase("sky", "--force")
        run = self.erase("sky", "--force")
        self.assertEqual((run.code, run.stdout), (0, ""))
        self.assertIn("ZooKeeper holds nothing of provider sky", run.stderr)

    def test_nobody_to_ask(self) -> None:
        """Nothing is erased without a terminal, and it is said how to."""
        run = self.erase("sky")
        self.assertEqual(run.code, 1)
        self.assertIn("nodepool erase sky --force", run.stderr)
        self.assertEqual(self.left(), (3, 2))

    def test_asking(self) -> None:
        """Only a yes erases; what it would be is shown before."""
        for answer in ("", "n", "no", "what?", "N"):
            run = self.erase("sky", interactive=True, answer=answer)
            self.assertEqual(run.code, 1)
            self.assertIn("nothing was erased", run.stderr)
            self.assertEqual(self.left(), (3, 2))
        run = self.erase("sky", interactive=True)
        self.assertIsNone(run.code)
        self.assertIn("3 uploads of 2 builds, 2 nodes", run.stderr)
        self.assertIn("[y/N]", run.stderr)
        self.typed.callback("Y")
        self.settle()
        self.assertEqual((run.code, self.left()), (0, (0, 0)))

    def test_interrupting(self) -> None:
        """Ctrl-C at the question erases nothing."""
        run = self.erase("sky", interactive=True)
        self.interrupt(run)
        self.assertEqual((run.code, self.left()), (ExitCode.INTERRUPTED, (3, 2)))

    def test_what_somebody_holds(self) -> None:
        """Stays and is named; the rest goes, and once it is free so does that."""
        self.lock(self.held)
        upload = image_paths.upload_lock("debian", "b2", "sky", "0000000001")
        contender = self.inspector.create(f"{upload}/{CONTENDER}")
        run = self.erase("sky", "--force")
        self.assertEqual(run.code, 1)
        self.assertIn("1 uploads of 1 builds, 1 nodes", run.stdout)
        self.assertIn(
            f"left, as they are in somebody's hands: uploads of build debian-b2, "
            f"node {self.held} (hold)",
            run.stderr,
        )
        self.assertEqual(self.left(), (2, 1))
        self.inspector.delete(contender)
        self.inspector.delete_tree(paths.node_lock(self.held))
        self.assertEqual(self.erase("sky", "--force").code, 0)
        self.assertEqual(self.left(), (0, 0))

    def test_what_is_promised(self) -> None:
        """Is named before it goes."""
        self.promise(self.ready, "100-0000000007")
        run = self.erase("sky", "--force")
        self.assertIn(f"promised to somebody, or in use: nodes {self.ready}", run.stderr)

    def test_launchers_that_serve_it(self) -> None:
        """Are named: they would go on making nodes."""
        self.add_pool()
        run = self.erase("dc", "--force")
        self.assertIn("WARNING: launchers at launcher still serve it", run.stderr)

    def test_a_node_that_changes_meanwhile(self) -> None:
        """Goes as it is then; one that goes by itself was not erased by us."""

        def promise(call: Any) -> None:
            self.promise(self.ready, "100-0000000007")

        def remove(call: Any) -> None:
            self.inspector.delete_tree(paths.node(self.held))

        self.inspector.before("transaction", promise, path=paths.node(self.ready))
        self.inspector.before("transaction", remove, path=paths.node(self.held))
        run = self.erase("sky", "--force")
        self.assertEqual(run.code, 0, run.stderr)
        self.assertIn(", 1 nodes", run.stdout)
        self.assertEqual(self.left(), (0, 0))

    def test_broken_off(self) -> None:
        """What is done is done, and what is not is done the next time."""
        self.inspector.fail_next("transaction", ConnectionLoss(), path=paths.node(self.held))
        run = self.erase("sky", "--force")
        self.assertEqual(run.code, ExitCode.NO_ZOOKEEPER)
        self.assertEqual(self.left(), (0, 1))
        run = self.erase("sky", "--force")
        self.assertEqual((run.code, self.left()), (0, (0, 0)))
