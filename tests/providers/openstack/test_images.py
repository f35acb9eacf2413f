"""Images are found by name or id, uploaded as Nodepool 11 does, and removed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from twisted.internet.defer import CancelledError, Deferred

from nodepool_tx.config.frozen import FrozenMapping
from nodepool_tx.config.openstack import OpenStackImage
from nodepool_tx.providers.cloud.errors import CloudError, Gone, InvalidConfiguration
from nodepool_tx.providers.cloud.interface import ImageUploadOrder
from nodepool_tx.providers.openstack.lookups import RECHECK
from nodepool_tx.providers.openstack.transport import Answer
from tests.providers.openstack.recorded import IMAGE, RecordedTestCase, ok


def image(image_id: str, created: str = "2026-01-01", **changes: Any) -> dict[str, Any]:
    plain = {"id": image_id, "name": "debian", "status": "active", "created_at": created}
    return {**plain, **changes}


class FindingTests(RecordedTestCase):
    def ready(self, **names: Any) -> Any:
        label = self.label(image=OpenStackImage("debian", **names))
        return self.result(self.tested.image_ready(label))

    def setUp(self) -> None:
        super().setUp()
        self.tested = self.adapter()
        self.cloud.play("image", "GET", "/images/debian", Answer(404))

    def have(self, *images: dict[str, Any]) -> None:
        self.cloud.play("image", "GET", "/images", ok({"images": list(images)}))

    def test_by_id(self) -> None:
        """An id is asked for directly; it must be there and usable."""
        self.cloud.play("image", "GET", f"/images/{IMAGE}", ok(image(IMAGE)))
        self.assertIs(self.ready(image_id=IMAGE), True)
        self.assertEqual(len(self.cloud.asked), 1)
        for answer in (Answer(404), ok(image(IMAGE, status="deactivated"))):
            self.tested = self.adapter()
            self.cloud.play("image", "GET", f"/images/{IMAGE}", answer)
            self.assertIs(self.ready(image_id=IMAGE), False)

    def test_by_name(self) -> None:
        """The newest usable image of exactly that name is taken."""
        self.have(
            image("old", "2026-01-01"),
            image("new", "2026-02-01"),
            image("unfinished", "2026-03-01", status="queued"),
            image("other", "2026-04-01", name="debian-testing"),
        )
        self.assertIs(self.ready(), True)
        self.cloud.play("compute", "POST", "/servers", ok({"server": {"id": "s"}}, 202))
        label = self.label(image=OpenStackImage("debian"))
        self.result(self.tested.create(self.order(label)))
        posted = self.cloud.of("POST", "/servers")[0].json["server"]
        self.assertEqual(posted["imageRef"], "new")
        self.assertEqual(len(self.cloud.of("GET", "/images")), 1)

    def test_a_name_that_is_an_odd_id(self) -> None:
        """What is no name may be an id, of whatever form."""
        self.cloud.play("image", "GET", "/images/debian", ok(image("debian")))
        self.assertIs(self.ready(), True)
        self.cloud.play("image", "GET", "/images/a%2Fb%20c", ok(image("a/b c")))
        self.assertIs(self.ready(image_name="a/b c"), True)

    def test_an_image_that_appears(self) -> None:
        """A missing image is looked for now and then, however often it is asked about."""
        self.assertEqual([self.ready() for _ in range(100)], [False] * 100)
        self.assertEqual(len(self.cloud.of("GET", "/images")), 1)
        self.have(image("new"))
        self.clock.advance(RECHECK + 1)
        self.assertIs(self.ready(), True)

    def test_uploaded_images_are_not_asked_about(self) -> None:
        """They are known from ZooKeeper."""
        label = self.label(image=OpenStackImage("debian", diskimage=True))
        self.assertIs(self.result(self.tested.image_ready(label)), False)
        self.assertEqual(self.cloud.asked, [])


class UploadTests(RecordedTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.tested = self.adapter()
        self.cloud.play("image", "POST", "/images", ok(image("i-1", status="queued"), 201))
        self.cloud.play("image", "PUT", "/images/i-1/file", Answer(204))
        self.cloud.play("image", "GET", "/images/i-1", ok(image("i-1")))
        self.cloud.play("image", "DELETE", "/images/i-1", Answer(204))
        self.order_ = ImageUploadOrder(
            name="debian-1",
            path=Path("debian.qcow2"),
            format="qcow2",
            meta=FrozenMapping({"min_disk": 5, "hw_disk_bus": "scsi", "x": 7, "tags": ("a",)}),
            metadata={"nodepool_build_id": "7", "nodepool_provider_name": "cloud"},
            md5="m",
            sha256="s",
        )

    def upload(self) -> Deferred[str]:
        return Deferred.fromCoroutine(self.tested.upload_image(self.order_))

    def deleted(self) -> int:
        return len(self.cloud.of("DELETE", "/images/i-1"))

    def test_upload(self) -> None:
        """The image is described, sent, and named when it can be used."""
        self.assertEqual(self.successResultOf(self.upload()), "i-1")
        self.assertEqual(
            self.cloud.asked[0].json,
            {
                "name": "debian-1",
                "disk_format": "qcow2",
                "container_format": "bare",
                "visibility": "private",
                "min_disk": 5,
                "hw_disk_bus": "scsi",
                "x": "7",
                "tags": ["a"],
                "nodepool_build_id": "7",
                "nodepool_provider_name": "cloud",
                "owner_specified.openstack.md5": "m",
                "owner_specified.openstack.sha256": "s",
                "owner_specified.openstack.object": "debian-1",
            },
        )
        put = self.cloud.asked[1]
        self.assertEqual(put.file, Path("debian.qcow2"))
        self.assertEqual(put.headers, {"Content-Type": "application/octet-stream"})
        self.assertEqual(self.deleted(), 0)

    def test_waiting(self) -> None:
        """A cloud may take its time before the image can be used."""
        saving = ok(image("i-1", status="importing"))
        self.cloud.play("image", "GET", "/images/i-1", saving, saving, ok(image("i-1")))
        upload = self.upload()
        self.clock.advance(2)
        self.assertNoResult(upload)
        self.clock.advance(2)
        self.assertEqual(self.successResultOf(upload), "i-1")

    def test_what_fails_is_removed(self) -> None:
        """A failed upload leaves nothing behind."""
        self.cloud.play("image", "PUT", "/images/i-1/file", CloudError("cut"))
        self.assertEqual(str(self.failureResultOf(self.upload(), CloudError).value), "cut")
        self.cloud.play("image", "PUT", "/images/i-1/file", Answer(204))
        self.cloud.play("image", "GET", "/images/i-1", ok(image("i-1", status="killed")))
        self.cloud.play("image", "DELETE", "/images/i-1", Answer(500))
        failure = self.failureResultOf(self.upload(), CloudError)
        self.assertIn("the image is killed", str(failure.value))
        self.assertEqual(self.deleted(), 2)

    def test_what_is_given_up_is_removed(self) -> None:
        """Cancelling an upload removes what there is of it."""
        self.cloud.play("image", "GET", "/images/i-1", ok(image("i-1", status="saving")))
        upload = self.upload()
        upload.cancel()
        self.failureResultOf(upload, CancelledError)
        self.assertEqual(self.deleted(), 1)
        self.clock.advance(10)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_refused(self) -> None:
        """Nothing is to be removed of what was refused."""
        self.cloud.play("image", "POST", "/images", Answer(400, {}, "bad disk_format"))
        self.failureResultOf(self.upload(), InvalidConfiguration)
        self.assertEqual(self.deleted(), 0)

    def test_deletion(self) -> None:
        """An image that is in use stays; one that is gone is Gone."""
        self.result(self.tested.delete_image("i-1"))
        for status, kind in ((404, Gone), (409, CloudError), (403, InvalidConfiguration)):
            self.cloud.play("image", "DELETE", "/images/i-1", Answer(status))
            self.error(self.tested.delete_image("i-1"), kind)
