"""Servers are asked for as labels say, with look-ups that many launches share."""

from __future__ import annotations

import base64
from typing import Any

import attrs
from twisted.internet.defer import Deferred

from nodepool_tx.config.frozen import FrozenMapping
from nodepool_tx.config.openstack import OpenStackImage
from nodepool_tx.model import NodeRequest, RequestState
from nodepool_tx.providers.cloud.errors import (
    CloudError,
    InvalidConfiguration,
    OverQuota,
    RetryLater,
)
from nodepool_tx.providers.openstack.transport import Answer
from tests.providers.openstack.recorded import (
    IMAGE,
    PRIVATE,
    RecordedTestCase,
    ok,
)

#: Nova says no more than this of a server that was just made.
MADE = Answer(
    202,
    {},
    {
        "server": {
            "id": "s-1",
            "links": [],
            "OS-DCF:diskConfig": "MANUAL",
            "security_groups": [{"name": "default"}],
            "adminPass": "secret",
        }
    },
)


def refused(message: str, status: int = 400) -> Answer:
    return Answer(status, {}, {"badRequest": {"code": status, "message": message}})


class LaunchingTests(RecordedTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.cloud.play("compute", "POST", "/servers", MADE)

    def create(self, label: Any = None, **order: Any) -> Any:
        return self.adapter().create(self.order(label, **order))

    def posted(self, label: Any = None, **order: Any) -> dict[str, Any]:
        self.assertEqual(self.result(self.create(label, **order)), "s-1")
        posted: dict[str, Any] = self.cloud.of("POST", "/servers")[-1].json["server"]
        return posted

    def test_the_least(self) -> None:
        """What a label does not say is not sent, as Nova refuses a null."""
        self.assertEqual(
            self.posted(),
            {
                "name": "np0000000001",
                "flavorRef": "1",
                "imageRef": IMAGE,
                "metadata": {
                    "groups": "cloud,debian,small",
                    "nodepool_node_id": "0000000001",
                    "nodepool_pool_name": "main",
                    "nodepool_provider_name": "cloud",
                },
            },
        )

    def test_everything(self) -> None:
        """Each option has its place in the request."""
        label = self.label(
            key_name="zuul",
            userdata="#cloud-config\nü",
            networks=("private", "9b1e0a52-5b8e-4a43-8a11-6ac3c2f8d001"),
            instance_properties=FrozenMapping({"a": "b", "n": 3, "t": True}),
            image=OpenStackImage("debian", image_id=IMAGE, config_drive=True),
        )
        pool = self.pool(security_groups=("ssh", "web"))
        server = self.posted(label, pool=pool, zone="az1")
        self.assertEqual(base64.b64decode(server["user_data"]).decode(), "#cloud-config\nü")
        self.assertEqual(server["key_name"], "zuul")
        self.assertEqual(server["availability_zone"], "az1")
        self.assertIs(server["config_drive"], True)
        self.assertEqual(
            server["networks"],
            [{"uuid": PRIVATE}, {"uuid": "9b1e0a52-5b8e-4a43-8a11-6ac3c2f8d001"}],
        )
        self.assertEqual(server["security_groups"], [{"name": "ssh"}, {"name": "web"}])
        self.assertEqual(
            {key: server["metadata"][key] for key in "ant"}, {"a": "b", "n": "3", "t": "True"}
        )

    def test_config_drive_is_left_to_the_cloud_or_not(self) -> None:
        """Unset, off and on are three different things."""
        for value in (None, False, True):
            image = OpenStackImage("debian", image_id=IMAGE, config_drive=value)
            self.assertIs(self.posted(self.label(image=image)).get("config_drive"), value)

    def test_boot_from_volume(self) -> None:
        """The volume is made from the image and goes with the server."""
        server = self.posted(self.label(boot_from_volume=True, volume_size=80))
        self.assertNotIn("imageRef", server)
        self.assertEqual(
            server["block_device_mapping_v2"],
            [
                {
                    "boot_index": 0,
                    "uuid": IMAGE,
                    "source_type": "image",
                    "destination_type": "volume",
                    "volume_size": 80,
                    "delete_on_termination": True,
                }
            ],
        )

    def test_an_uploaded_image(self) -> None:
        """A disk image is named by the order, by id; without one there is no server."""
        label = self.label(image=OpenStackImage("debian", diskimage=True))
        self.assertEqual(self.posted(label, image_id="up-1")["imageRef"], "up-1")
        self.assertIn("there is no image", self.error(self.create(label), InvalidConfiguration))

    def test_our_own_keys_win(self) -> None:
        """No property replaces what we know a server by."""
        properties = FrozenMapping({"nodepool_node_id": "x", "groups": "mine"})
        dynamic = FrozenMapping({"nodepool_provider_name": "{request.id}"})
        label = self.label(instance_properties=properties, dynamic_instance_properties=dynamic)
        metadata = self.posted(label, request=self.request())["metadata"]
        self.assertEqual(metadata["nodepool_node_id"], "0000000001")
        self.assertEqual(metadata["nodepool_provider_name"], "cloud")
        self.assertEqual(metadata["groups"], "mine")

    def request(self) -> NodeRequest:
        return NodeRequest(
            id="100-0000000007",
            state=RequestState.REQUESTED,
            node_types=("small", "large"),
            requestor="zuul",
            requestor_data={"job": "unit", "refs": [{"name": "main"}]},
            relative_priority=1,
            event_id="e",
            tenant_name="t",
        )

    def test_dynamic_properties(self) -> None:
        """Those of the request that are meant for it can be filled in, and nothing else."""
        good = {
            "id": "{request.id}",
            "labels": "{request.labels}",
            "label": "{request.labels[1]}",
            "who": "{request.requestor:>6} {request.event_id!r}",
            "job": "{request.requestor_data[job]}",
            "ref": "{request.requestor_data[refs][0][name]}",
            "rest": "{request.tenant_name} {request.relative_priority} {request.created_time}",
            "plain": "{{}}",
            "long": "{request.id:>300}",
        }
        bad = {
            "b1": "{request.__class__}",
            "b2": "{request.id.__class__}",
            "b3": "{request.requestor_data.keys}",
            "b4": "{request.state}",
            "b5": "{request}",
            "b6": "{provider}",
            "b7": "{request.id[0]}",
            "b8": "{request.labels[9]}",
            "b9": "{request.requestor_data[nothing]}",
            "b10": "{0}",
            "b11": "{request.id",
            "b12": "{request.requestor_data[job]x}",
            "b13": "{request.id:d}",
        }
        label = self.label(dynamic_instance_properties=FrozenMapping(good | bad))
        metadata = self.posted(label, request=self.request())["metadata"]
        self.assertEqual(set(metadata) & set(bad), set())
        expected = {
            "id": "100-0000000007",
            "labels": "['small', 'large']",
            "label": "large",
            "who": "  zuul 'e'",
            "job": "unit",
            "ref": "main",
            "rest": "t 1 None",
            "plain": "{}",
        }
        self.assertEqual({key: metadata[key] for key in expected}, expected)
        self.assertEqual(len(metadata["long"]), 255)

    def test_dynamic_properties_without_a_request(self) -> None:
        """A server made for nobody in particular goes without them."""
        label = self.label(dynamic_instance_properties=FrozenMapping({"id": "{request.id}"}))
        self.assertNotIn("id", self.posted(label)["metadata"])

    def test_a_thousand_launches(self) -> None:
        """They cost a handful of look-ups."""
        image = OpenStackImage("debian", image_name="Debian 13")
        found = {"id": IMAGE, "name": "Debian 13", "status": "active", "created_at": "1"}
        self.cloud.play("image", "GET", "/images", ok({"images": [found]}))
        label = self.label(image=image, networks=("private",))
        adapter = self.adapter()
        self.cloud.holding = True
        waiting = [Deferred.fromCoroutine(adapter.create(self.order(label))) for _ in range(1000)]
        for _ in range(5):
            self.cloud.release()
            self.cloud.holding = True
        self.assertEqual({self.successResultOf(each) for each in waiting}, {"s-1"})
        self.assertEqual(len(self.cloud.of("POST", "/servers")), 1000)
        self.assertEqual(len(self.cloud.asked), 1003)

    def test_an_image_that_has_a_successor(self) -> None:
        """When the cloud does not know what is asked for, it is looked up once more."""
        old = {"id": "old", "name": "debian", "status": "active", "created_at": "1"}
        new = {"id": "new", "name": "debian", "status": "active", "created_at": "2"}
        self.cloud.play("image", "GET", "/images", ok({"images": [old]}), ok({"images": [new]}))
        self.cloud.play(
            "compute", "POST", "/servers", refused("Can not find requested image"), MADE
        )
        server = self.posted(self.label(image=OpenStackImage("debian")))
        self.assertEqual(server["imageRef"], "new")
        self.assertEqual(len(self.cloud.of("POST", "/servers")), 2)

    def test_what_stays_wrong_is_asked_for_once(self) -> None:
        """When a fresh look changes nothing, the refusal stands."""
        self.cloud.play("compute", "POST", "/servers", refused("Invalid key_name provided."))
        self.assertIn("Invalid key_name", self.error(self.create(), InvalidConfiguration))
        self.assertEqual(len(self.cloud.of("POST", "/servers")), 1)

    def test_what_does_not_exist(self) -> None:
        """A flavor, network or image that is not there is said before Nova is asked."""
        self.cloud.play("image", "GET", "/images/00000000-0000-0000-0000-000000000000", Answer(404))
        missing = "00000000-0000-0000-0000-000000000000"
        for changes, said in (
            ({"flavor_name": "huge"}, "no flavor called huge"),
            ({"min_ram": 9999999, "flavor_name": "m1"}, "9999999 MiB or more and m1 in its name"),
            ({"networks": ("nowhere",)}, "no network nowhere"),
            ({"image": OpenStackImage("x", image_name=missing)}, f"no image {missing}"),
        ):
            self.assertIn(
                said, self.error(self.create(self.label(**changes)), InvalidConfiguration)
            )
        self.assertEqual(self.cloud.of("POST", "/servers"), [])

    def test_a_network_name_that_two_have(self) -> None:
        """The operator is told to use the id; the id works."""
        twice = [{"id": "n1", "name": "net"}, {"id": "n2", "name": "net"}]
        self.cloud.play("network", "GET", "/networks", ok({"networks": twice}))
        label = self.label(networks=("net",))
        self.assertIn("2 networks", self.error(self.create(label), InvalidConfiguration))
        label = attrs.evolve(label, networks=("n2",))
        self.assertEqual(self.posted(label)["networks"], [{"uuid": "n2"}])

    def test_refusals(self) -> None:
        """Each is of its kind; a 404 does not mean that a server is gone."""
        for answer, kind in (
            (refused("Quota exceeded for instances: Requested 1", 403), OverQuota),
            (Answer(503, {"retry-after": "5"}), RetryLater),
            (refused("Flavor 7 could not be found.", 404), InvalidConfiguration),
            (Answer(404), CloudError),
            (Answer(500), CloudError),
            (ok({"server": {}}, 202), CloudError),
            (ok(None, 202), CloudError),
        ):
            self.cloud.play("compute", "POST", "/servers", answer)
            self.error(self.create(), kind)
