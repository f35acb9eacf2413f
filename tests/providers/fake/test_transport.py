"""Calls of the simulated cloud: how long they take, what goes wrong, images and volumes."""

from __future__ import annotations

import hashlib
from collections import Counter
from pathlib import Path

from twisted.internet.defer import CancelledError

from nodepool_tx.providers.cloud.errors import CloudError, Gone
from nodepool_tx.providers.fake.troubles import Trouble, overloaded
from nodepool_tx.providers.openstack.transport import Answer
from tests.providers.fake.stage import CloudCase


class CallTests(CloudCase):
    """A call from its beginning to its end."""

    def test_delay(self) -> None:
        """A call takes its time, and has its effect halfway through."""
        self.build(api_delay=2.0)
        call = self.begin("compute", "POST", "/servers", json=self.order())
        self.clock.advance(0.9)
        self.assertEqual(self.cloud.compute.servers, {})
        self.clock.advance(0.1)
        self.assertEqual(len(self.cloud.compute.servers), 1)
        self.clock.advance(0.9)
        self.assertNoResult(call)
        self.clock.advance(0.1)
        self.assertEqual(self.successResultOf(call).status, 202)

    def test_cancelling(self) -> None:
        """A call that is cancelled ends at once, with or without an effect."""
        self.build(api_delay=2.0)
        for seconds, servers in ((0.5, 0), (1.5, 1)):
            call = self.begin("compute", "POST", "/servers", json=self.order())
            self.clock.advance(seconds)
            call.cancel()
            self.failureResultOf(call, CancelledError)
            self.assertEqual(len(self.cloud.compute.servers), servers)

    def test_timeout(self) -> None:
        """A call that takes longer than it may is given up, and has had no effect."""
        self.build(api_delay=2.0)
        call = self.begin("compute", "POST", "/servers", json=self.order(), timeout=1.0)
        self.clock.advance(1.0)
        self.failureResultOf(call, CloudError)
        self.clock.advance(5.0)
        self.assertEqual(self.cloud.compute.servers, {})

    def test_stop(self) -> None:
        """Stopping ends what is in flight and what comes later, until it is started again."""
        self.change(api_delay=2.0)
        call = self.begin("compute", "GET", "/servers")
        self.clock.advance(0)
        stopping = self.transport.stop()
        self.assertRaises(StopIteration, stopping.send, None)
        self.failureResultOf(call, CloudError)
        self.failureResultOf(self.begin("compute", "GET", "/servers"), CloudError)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.change(api_delay=0.0)
        self.transport.start()
        self.get("compute", "/servers")

    def test_only_json(self) -> None:
        """What JSON cannot carry is not carried, and what was sent is not shared."""
        self.failureResultOf(
            self.begin("compute", "POST", "/servers", json={"server": object()}), TypeError
        )
        metadata = {"a": "b"}
        server_id = self.create(metadata=metadata)
        metadata["a"] = "c"
        self.assertEqual(self.server(server_id)["metadata"], {"a": "b"})

    def test_no_such_thing(self) -> None:
        """A service that there is not is Gone; a path that there is not is a 404."""
        self.failureResultOf(self.begin("dns", "GET", "/zones"), Gone)
        for service in ("compute", "network", "image", "block-storage"):
            self.assertEqual(self.ask(service, "GET", "/nothing/here").status, 404)
            self.assertEqual(self.ask(service, "PATCH", "/servers/1").status, 404)


class TroubleTests(CloudCase):
    """Calls that go wrong."""

    def test_by_order(self) -> None:
        """A test says which call goes wrong, how, and whether it has its effect."""
        troubles = self.transport.troubles
        troubles.order("compute", "POST", "servers", Trouble(None, takes_effect=True))
        troubles.order("compute", "POST", "servers", Trouble(overloaded(7)), times=2)
        self.get("compute", "/servers")
        call = self.begin("compute", "POST", "/servers", json=self.order())
        self.failureResultOf(call, CloudError)
        self.assertEqual(len(self.cloud.compute.servers), 1)
        for _ in range(2):
            answer = self.ask("compute", "POST", "/servers", json=self.order())
            self.assertEqual((answer.status, answer.headers["retry-after"]), (503, "7"))
        self.assertEqual(len(self.cloud.compute.servers), 1)
        self.create()

    def test_overload(self) -> None:
        """A cloud that is overloaded says for how long, and then works again."""
        self.cloud.overload(2.5)
        answer = self.ask("network", "GET", "/networks")
        self.assertEqual((answer.status, answer.headers["retry-after"]), (503, "3"))
        self.clock.advance(2.0)
        self.assertEqual(self.ask("image", "GET", "/images").headers["retry-after"], "1")
        self.clock.advance(1.0)
        self.get("compute", "/servers")

    def test_by_chance(self) -> None:
        """As many calls fail as are said to, in each of the ways there are."""
        self.build(api_failure_rate=0.2, max_instances=-1, max_cores=-1, max_ram=-1)
        outcomes: Counter[object] = Counter()
        for _ in range(1000):
            before = len(self.cloud.compute.servers)
            outcome: list[Answer] = []
            call = self.begin("compute", "POST", "/servers", json=self.order())
            call.addCallbacks(outcome.append, lambda failure: failure.trap(CloudError) and None)
            made = len(self.cloud.compute.servers) - before
            outcomes[outcome[0].status if outcome else "broken", made] += 1
        self.assertEqual(
            outcomes.keys(), {(202, 1), (503, 0), (500, 0), ("broken", 0), ("broken", 1)}
        )
        self.assertTrue(700 < outcomes[202, 1] < 900, outcomes)

    def test_calls_are_counted(self) -> None:
        """The calls of each kind are counted."""
        self.create()
        self.get("compute", "/servers/detail")
        self.get("compute", "/servers")
        self.assertEqual(
            self.transport.calls,
            {("compute", "POST", "servers"): 1, ("compute", "GET", "servers"): 2},
        )


class ImageTests(CloudCase):
    """Images."""

    def image(self, **more: object) -> str:
        body = {"name": "mine", "disk_format": "raw", "container_format": "bare", **more}
        answer = self.ask("image", "POST", "/images", json=body)
        self.assertEqual((answer.status, answer.body["status"]), (201, "queued"))
        return str(answer.body["id"])

    def upload(self, image_id: str, content: bytes) -> int:
        file = Path(self.mktemp())
        file.write_bytes(content)
        call = self.begin("image", "PUT", f"/images/{image_id}/file", file=file)
        self.pass_time(1)
        return self.successResultOf(call).status

    def test_upload(self) -> None:
        """An image is queued, then saved piece by piece, then active and of use."""
        image_id = self.image(kind="x", min_disk=3)
        self.refused(400, imageRef=image_id)
        content = b"0123456789" * 300_000
        self.assertEqual(self.upload(image_id, content), 204)
        image = self.get("image", f"/images/{image_id}")
        self.assertEqual(
            (image["status"], image["size"], image["kind"], image["min_disk"]),
            ("active", 3_000_000, "x", 3),
        )
        self.assertEqual(image["checksum"], hashlib.md5(content).hexdigest())
        self.assertEqual(image["os_hash_value"], hashlib.sha512(content).hexdigest())
        self.create(imageRef=image_id)
        self.assertEqual(self.upload(image_id, b""), 409)

    def test_deletion(self) -> None:
        """An image that was deleted is a 404; a protected one stays."""
        image_id = self.image()
        self.assertEqual(self.ask("image", "DELETE", f"/images/{image_id}").status, 204)
        for method in ("GET", "DELETE"):
            answer = self.ask("image", method, f"/images/{image_id}")
            self.assertEqual((answer.status, answer.body["code"]), (404, "404 Not Found"))
        self.assertEqual(self.upload(image_id, b"x"), 404)
        image_id = self.image(protected=True)
        self.assertEqual(self.ask("image", "DELETE", f"/images/{image_id}").status, 403)

    def test_deletion_during_the_upload(self) -> None:
        """An image that is deleted while its content comes is gone."""
        image_id = self.image()
        file = Path(self.mktemp())
        file.write_bytes(b"x" * 3_000_000)
        call = self.begin("image", "PUT", f"/images/{image_id}/file", file=file)
        self.assertEqual(self.get("image", f"/images/{image_id}")["status"], "saving")
        self.ask("image", "DELETE", f"/images/{image_id}")
        self.pass_time(1)
        self.assertEqual(self.successResultOf(call).status, 410)

    def test_an_upload_that_breaks_off(self) -> None:
        """An image whose upload broke off waits for another one."""
        image_id = self.image()
        file = Path(self.mktemp())
        file.write_bytes(b"x")
        call = self.begin("image", "PUT", f"/images/{image_id}/file", file=file)
        call.cancel()
        self.failureResultOf(call, CancelledError)
        self.assertEqual(self.get("image", f"/images/{image_id}")["status"], "queued")
        self.assertEqual(self.upload(image_id, b"x"), 204)

    def test_properties_are_texts(self) -> None:
        """A property that is no text, and an id that is taken, are refused."""
        for body, status in (({"a": 1}, 400), ({"id": "fake-image-id"}, 409), ([], 400)):
            self.assertEqual(self.ask("image", "POST", "/images", json=body).status, status)

    def test_pages_and_filters(self) -> None:
        """A listing has 25 images a page, the newest first, and can be narrowed down."""
        made = [self.image(number=str(each)) for each in range(30)]
        body = self.get("image", "/images")
        ids = [each["id"] for each in body["images"]]
        self.assertEqual(len(ids), 25)
        self.assertTrue(body["next"].startswith("/v2/images?"))
        body = self.get("image", body["next"])
        ids += [each["id"] for each in body["images"]]
        self.assertEqual(ids, [*made[::-1], "fake-image-id"])
        self.assertNotIn("next", body)
        found = self.get("image", "/images", query={"number": "3"})["images"]
        self.assertEqual([each["id"] for each in found], [made[3]])
        found = self.get("image", "/images", query={"name": "Fake Precise"})["images"]
        self.assertEqual([each["id"] for each in found], ["fake-image-id"])

    def test_images_of_another_process(self) -> None:
        """Where that is allowed servers are made from images that are not known here."""
        self.refused(400, imageRef="uploaded-elsewhere")
        self.cloud.images.adopt = True
        self.create(imageRef="uploaded-elsewhere")


class VolumeTests(CloudCase):
    """Volumes, by themselves and of servers."""

    def boot(self, size: int, goes: bool) -> str:
        device = {
            "boot_index": 0,
            "uuid": "fake-image-id",
            "source_type": "image",
            "destination_type": "volume",
            "volume_size": size,
            "delete_on_termination": goes,
        }
        return self.create(imageRef=..., block_device_mapping_v2=[device])

    def listed(self) -> list[tuple[int, str]]:
        volumes = self.get("block-storage", "/volumes/detail")["volumes"]
        return [(each["size"], each["status"]) for each in volumes]

    def test_boot_from_volume(self) -> None:
        """A volume is made for the server, which has no image then; it stays or goes with it."""
        for goes, left in ((True, []), (False, [(10, "available")])):
            server_id = self.boot(10, goes)
            self.pass_time(1)
            server = self.server(server_id)
            (attached,) = server["os-extended-volumes:volumes_attached"]
            self.assertEqual(server["image"], "")
            volume = self.get("block-storage", f"/volumes/{attached['id']}")["volume"]
            self.assertEqual(volume["status"], "in-use")
            self.assertEqual(volume["attachments"][0]["server_id"], server_id)
            answer = self.ask("block-storage", "DELETE", f"/volumes/{attached['id']}")
            self.assertEqual(answer.status, 400)
            self.delete(server_id)
            self.clock.advance(0)
            self.assertEqual(self.listed(), left)

    def test_quota_of_volumes(self) -> None:
        """A server for whose volume there is no quota is accepted, and fails for that."""
        for limit in ({"max_volumes": 1}, {"max_volume_gb": 19}):
            self.build(**limit)
            self.boot(10, True)
            self.pass_time(1)
            server_id = self.boot(10, True)
            self.pass_time(1)
            server = self.server(server_id)
            self.assertEqual(server["status"], "ERROR")
            self.assertIn("quota exceeded", server["fault"]["message"].lower())
            self.assertEqual(self.listed(), [(10, "in-use")])

    def test_a_volume_by_itself(self) -> None:
        """A volume is made, counted in the limits, and deleted; quotas are a 413."""
        self.change(max_volumes=1)
        body = {"volume": {"size": 7, "name": "v"}}
        made = self.ask("block-storage", "POST", "/volumes", json=body)
        self.assertEqual((made.status, made.body["volume"]["status"]), (202, "creating"))
        self.clock.advance(0)
        self.assertEqual(self.listed(), [(7, "available")])
        limits = self.get("block-storage", "/limits")["limits"]["absolute"]
        self.assertEqual((limits["totalVolumesUsed"], limits["totalGigabytesUsed"]), (1, 7))
        answer = self.ask("block-storage", "POST", "/volumes", json=body)
        self.assertEqual((answer.status, list(answer.body)), (413, ["overLimit"]))
        path = f"/volumes/{made.body['volume']['id']}"
        self.assertEqual(self.ask("block-storage", "DELETE", path).status, 202)
        self.assertEqual(self.ask("block-storage", "DELETE", path).status, 404)
