"""``alien-image-list``: what is in the clouds and in no record."""

from __future__ import annotations

import pathlib
from typing import Any

from nodepool_tx.cli import aliens
from nodepool_tx.cli.outcome import ExitCode
from nodepool_tx.config.schema import ProviderConfig
from nodepool_tx.providers.cloud.errors import CloudError
from nodepool_tx.providers.cloud.interface import (
    BUILD_ID,
    PROVIDER_NAME,
    UPLOAD_ID,
    ImageUploadOrder,
)
from nodepool_tx.providers.cloud.memory import MemoryAdapter, MemoryCloud, Timing
from nodepool_tx.store import image_paths, paths
from tests.cli.image_stage import ImageTestCase
from tests.cli.stage import CONFIG

_CLOUDS = """\
  - {name: sea, driver: openstack, cloud: sea}
  - {name: sky, driver: openstack, cloud: sky}
  - {name: toy, driver: fake, cloud: toy}
"""


class Adapter(MemoryAdapter):
    """Says whether it was stopped."""

    running = 0

    def start(self) -> None:
        Adapter.running += 1

    async def stop(self) -> None:
        Adapter.running -= 1
        await super().stop()


class AlienTests(ImageTestCase):
    """Two clouds, and two providers that have none to be seen from here."""

    def setUp(self) -> None:
        super().setUp()
        self.config.write_text(CONFIG.replace("tenant-res", f"{_CLOUDS}tenant-res"))
        self.clouds = {
            name: MemoryCloud(self.clock, timing=Timing(answer=0)) for name in ("sea", "sky")
        }
        self.broken: dict[str, Exception] = {}
        Adapter.running = 0
        real = aliens.adapter_of

        def adapter_of(config: ProviderConfig, *more: Any) -> Any:
            if config.name in self.broken:
                raise self.broken[config.name]
            cloud = self.clouds.get(config.name)
            return real(config, *more) if cloud is None else Adapter(cloud)

        self.patch(aliens, "adapter_of", adapter_of)
        self.addCleanup(lambda: self.assertEqual(Adapter.running, 0))

    def add_image(self, cloud: str, name: str, **metadata: str) -> str:
        keys = {"build": BUILD_ID, "upload": UPLOAD_ID, "provider": PROVIDER_NAME}
        order = ImageUploadOrder(
            name=name,
            path=pathlib.Path("x"),
            format="raw",
            metadata={keys[key]: value for key, value in metadata.items()},
        )
        return self.clouds[cloud].upload_image(order)

    def found(self, *words: str, code: int = 0) -> list[tuple[str, str]]:
        run = self.run_to_end("alien-image-list", *words, "--format", "json")
        self.assertEqual(run.code, code, run.stderr)
        return [(row["provider"], row["name"]) for row in self.rows(run)]

    def test_columns(self) -> None:
        """Nodepool 11's; JSON has the build, too."""
        image = self.add_image("sky", "debian-170", build="b9")
        table = self.run_to_end("alien-image-list").stdout
        self.assertIn("| Provider | Name       | Image ID |", table)
        self.assertIn(f"| sky      | debian-170 | {image}  |", table)
        (row,) = self.rows(self.run_to_end("alien-image-list", "--format", "json"))
        self.assertEqual((row["image_id"], row["build_id"]), (image, "b9"))

    def test_what_is_an_alien(self) -> None:
        """Images of builds that no record of an upload names, whichever provider's it is."""
        self.add_image("sky", "alien-1", build="b9", upload="0000000000")
        self.add_image("sky", "of-the-cloud")
        for state in ("ready", "deleting", "failed"):
            known = self.add_image("sky", f"known-{state}", build="b1")
            self.add_build("debian", f"b-{state}")
            self.add_upload("debian", f"b-{state}", "sky", state, external_id=known)
        # One account may be that of several providers.
        theirs = self.add_image("sky", "theirs", build="b1")
        self.add_upload("debian", "b-ready", "other", external_id=theirs)
        self.add_image("sea", "alien-2", build="b9", upload="0000000000", provider="sea")
        self.assertEqual(self.found(), [("sea", "alien-2"), ("sky", "alien-1")])
        self.assertEqual(self.found("sea"), [("sea", "alien-2")])

    def test_an_upload_under_way(self) -> None:
        """Is known by its numbers, as the record has no id of the cloud's yet."""
        number = self.add_upload("debian", "b1", "sky", "uploading", external_id=None)
        self.add_image("sky", "new", build="b1", upload=number, provider="sky")
        self.add_image("sea", "same", build="b1", upload=number)
        self.assertEqual(self.found(), [("sea", "same")])

    def test_a_record_that_makes_no_sense(self) -> None:
        """Names its image all the same."""
        number = self.add_upload("debian", "b1", "sky")
        self.inspector.set(paths.image_upload("debian", "b1", "sky", number), b"junk")
        self.add_image("sky", "known", build="b1", upload=number)
        self.assertEqual(self.found(), [])

    def test_a_record_that_comes_meanwhile(self) -> None:
        """Counts: the image was uploaded while the clouds were asked."""
        self.clouds["sky"].timing = Timing(answer=5)
        image = self.add_image("sky", "new", build="b1")
        run = self.start("alien-image-list", "--format", "json")
        self.assertIsNone(run.code)
        self.add_upload("debian", "b1", "sky", external_id=image)
        self.pass_time(6)
        self.assertEqual((run.code, self.rows(run)), (0, []))

    def test_a_cloud_in_trouble(self) -> None:
        """It is named with what is wrong; the others are listed, and the exit code is 1."""
        self.add_image("sky", "alien", build="b9")
        for error in (CloudError("503 unavailable"), KeyError("id")):
            self.clouds["sea"].fail_next("list_images", error)
            run = self.run_to_end("alien-image-list", "--format", "json")
            self.assertEqual(run.code, ExitCode.FAILED)
            self.assertEqual([row["name"] for row in self.rows(run)], ["alien"])
            self.assertIn("provider sea: ", run.stderr)
            self.assertIn(str(error), run.stderr)

    def test_a_cloud_without_an_answer(self) -> None:
        """Is not waited for longer than a minute."""
        self.clouds["sea"].hang_next("list_images")
        run = self.start("alien-image-list", "--format", "json")
        self.pass_time(59)
        self.assertIsNone(run.code)
        self.pass_time(2)
        self.assertEqual((run.code, self.rows(run)), (1, []))
        self.assertIn("provider sea: no answer within 60 s", run.stderr)

    def test_interrupting(self) -> None:
        """Ends the questions, and says so by the exit code."""
        self.clouds["sea"].hang_next("list_images")
        run = self.start("alien-image-list")
        self.interrupt(run)
        self.assertEqual(run.code, ExitCode.INTERRUPTED)

    def test_an_account_that_cannot_be_told(self) -> None:
        """Is a trouble of that provider alone."""
        self.broken["sea"] = ValueError("it is not known which cloud")
        self.add_image("sky", "alien", build="b9")
        self.assertEqual(self.found(code=1), [("sky", "alien")])

    def test_providers_without_images(self) -> None:
        """Are named; only when one of them was asked for it is a failure."""
        run = self.run_to_end("alien-image-list")
        self.assertEqual(run.code, 0)
        self.assertIn("no images to be seen from here: dc, toy", run.stderr)
        for name in ("dc", "toy"):
            run = self.run_to_end("alien-image-list", name)
            self.assertEqual(run.code, 1)
            self.assertIn(f"no images to be seen from here: {name}", run.stderr)

    def test_a_provider_that_is_not_there(self) -> None:
        """Is a mistake; those there are, are named."""
        run = self.run_to_end("alien-image-list", "moon")
        self.assertEqual(run.code, 1)
        self.assertIn("there is no provider moon in the configuration: there is dc", run.stderr)

    def test_nothing_is_left_in_zookeeper(self) -> None:
        """Looking registers nothing and takes no lock."""
        self.run_to_end("image-list")
        before = self.inspector.dump("/")
        self.run_to_end("alien-image-list")
        self.assertEqual(self.inspector.dump("/"), before)
        self.assertFalse(self.exists(image_paths.image("debian")))
